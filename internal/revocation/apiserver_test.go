// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// fault is what comes between somebody and what they asked for. An error is their answer.
type fault func(ctx context.Context) error

func fine(ctx context.Context) error { return ctx.Err() }

func refuse(context.Context) error { return apierrors.NewInternalError(errors.New("etcd is away")) }

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// slow answers late.
func slow(d time.Duration) fault {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leases are the Leases of the namespace, as far as there is one.
type leases struct {
	scene *scene

	mu            sync.Mutex
	lease         *coordinationv1.Lease
	version       int
	before, after fault // a write; after it the write has been made
	writes        []*coordinationv1.Lease
}

// answer sets what comes before and after each write from now on.
func (l *leases) answer(before, after fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before, l.after = before, after
}

func (l *leases) write(ctx context.Context, make func() error) (*coordinationv1.Lease, error) {
	l.mu.Lock()
	before, after := l.before, l.after
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	if err := make(); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	l.version++
	if l.lease != nil {
		l.lease.ResourceVersion = strconv.Itoa(l.version)
		l.writes = append(l.writes, l.lease.DeepCopy())
	}
	written := l.lease.DeepCopy()
	l.mu.Unlock()
	if after != nil {
		if err := after(ctx); err != nil {
			return nil, err
		}
	}
	return written, nil
}

var errNoLease = apierrors.NewNotFound(coordinationv1.Resource("leases"), leaseName)

func (l *leases) Create(
	ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions,
) (*coordinationv1.Lease, error) {
	l.scene.note(create)
	written, err := l.write(ctx, func() error {
		if l.lease != nil {
			return apierrors.NewAlreadyExists(coordinationv1.Resource("leases"), lease.Name)
		}
		l.lease = lease.DeepCopy()
		return nil
	})
	if err == nil {
		l.scene.note(created)
	}
	return written, err
}

func (l *leases) Patch(
	ctx context.Context, name string, kind types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string,
) (*coordinationv1.Lease, error) {
	l.scene.note(patch)
	if name != leaseName || kind != types.MergePatchType {
		l.scene.t.Errorf("a %s of %s", kind, name)
	}
	written, err := l.write(ctx, func() error {
		if l.lease == nil {
			return errNoLease
		}
		patched := l.lease.DeepCopy()
		decoder := json.NewDecoder(bytes.NewReader(body)) // which merges, if nothing is null
		decoder.DisallowUnknownFields()
		err := decoder.Decode(patched)
		l.lease = patched
		return err
	})
	if err == nil {
		l.scene.note(patched)
	}
	return written, err
}

func (l *leases) Delete(ctx context.Context, _ string, _ metav1.DeleteOptions) error {
	if l.scene.serving() {
		l.scene.t.Error("it gives its Lease up while it serves")
	}
	l.scene.note(leave)
	_, err := l.write(ctx, func() error {
		if l.lease == nil {
			return errNoLease
		}
		l.lease = nil
		return nil
	})
	return err
}

// there returns the Lease as it is, or nil.
func (l *leases) there() *coordinationv1.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lease.DeepCopy()
}

// remove deletes the Lease behind the replica's back.
func (l *leases) remove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease = nil
}

// await does as the controller does that waits for something, or, with "", does not any more.
func (l *leases) await(resourceVersion string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease = l.lease.DeepCopy()
	l.lease.Annotations[v1alpha1.AnnotationAwaited] = resourceVersion
	if resourceVersion == "" {
		delete(l.lease.Annotations, v1alpha1.AnnotationAwaited)
	}
}

// since returns the writes that were made from the nth on.
func (l *leases) since(n int) []*coordinationv1.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.writes[n:])
}

// store is what the replica recognises keys by.
type store struct {
	scene   *scene
	changed chan struct{}

	mu       sync.Mutex
	version  string
	revoked  map[types.UID]struct{}
	canceled []types.UID
	heard    time.Time // zero: at this very moment
	list     fault
	took     time.Duration // of the last list
	asked    int           // how often Applied was
	stuck    chan struct{} // see stick
}

func (y *store) Applied(limit int, first ...types.UID) (string, []types.UID) {
	y.mu.Lock()
	stuck := y.stuck
	y.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.asked++
	revoked := slices.Sorted(maps.Keys(y.revoked))
	asked := func(id types.UID) bool { return slices.Contains(first, id) }
	revoked = append(slices.DeleteFunc(slices.Clone(revoked), func(id types.UID) bool { return !asked(id) }),
		slices.DeleteFunc(revoked, asked)...)
	return y.version, revoked[:min(limit, len(revoked))]
}

func (y *store) Canceled(limit int) []types.UID {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.canceled[:min(limit, len(y.canceled))]
}

func (y *store) Changed() <-chan struct{} { return y.changed }

func (y *store) Relist(ctx context.Context) error {
	y.scene.note(relist)
	began := time.Now()
	y.mu.Lock()
	list := y.list
	y.mu.Unlock()
	if list == nil {
		list = fine
	}
	if err := list(ctx); err != nil {
		return err
	}
	y.mu.Lock()
	y.took = time.Since(began)
	if !y.heard.IsZero() {
		y.heard = time.Now()
	}
	y.mu.Unlock()
	y.scene.note(relisted)
	return nil
}

func (y *store) ListTook() time.Duration {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.took
}

func (y *store) Heard() time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.heard.IsZero() {
		return time.Now()
	}
	return y.heard
}

// lists sets what comes before the answer to each list from now on.
func (y *store) lists(f fault) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.list = f
}

// applies does as a watch that has brought deletions.
func (y *store) applies(version string, revoked ...types.UID) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.version = version
	if y.revoked == nil {
		y.revoked = map[types.UID]struct{}{}
	}
	for _, id := range revoked {
		y.revoked[id] = struct{}{}
	}
	select {
	case y.changed <- struct{}{}:
	default:
	}
}

// stick makes whoever asks what has been applied wait, until that is closed.
func (y *store) stick(until chan struct{}) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.stuck = until
}

// silent stops the watches from being heard of, but for lists.
func (y *store) silent() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.heard = time.Now()
}
