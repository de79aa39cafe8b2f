// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Moments that a scene's journal tells apart. A write to the Lease is sent, and, if all is well, answered.
const (
	patch, patched     = "patch", "patched"
	create, created    = "create", "created"
	leave              = "delete"
	relist, relisted   = "relist", "relisted"
	up, down           = "up", "down" // what a request every 50 ms finds
	cut, reconnect     = "cut", "reconnect"
	leaseName          = "letmepost-api-0"
	sampleEvery        = 50 * time.Millisecond
	ms, s              = time.Millisecond, time.Second
	fence15, renewal15 = 10 * s, 2 * s // of a Lease that lasts for 15 s
)

// moment is something that has happened.
type moment struct {
	at   time.Duration // since the scene began
	what string
}

// scene is a Replica, in fake time, among Leases and a store that do as they are told.
type scene struct {
	*Replica
	*leases
	*store
	t     *testing.T
	began time.Time
	end   context.CancelFunc // of Run
	ended chan struct{}

	mu      sync.Mutex
	journal []moment
	said    []moment // what was logged
}

// play plays a scene of a Replica whose Lease lasts for 15 s, and then looks whether it has kept the order of things.
func play(t *testing.T, act func(*testing.T, *scene)) {
	t.Helper()
	playFor(t, 15*s, act)
}

func playFor(t *testing.T, duration time.Duration, act func(*testing.T, *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t, duration)
		defer func() {
			x.end()
			<-x.ended
			x.lawful()
		}()
		act(t, x)
	})
}

func newScene(t *testing.T, duration time.Duration) *scene {
	x := &scene{t: t, began: time.Now(), end: func() {}, ended: make(chan struct{})}
	close(x.ended)
	x.leases = &leases{scene: x, version: 100}
	x.store = &store{scene: x, version: "1000", changed: make(chan struct{}, 1)}
	x.Replica = NewReplica(ReplicaOptions{
		Leases: x.leases, Store: x.store,
		Name: leaseName, Holder: "pod-0", Environment: "live",
		Duration:  duration,
		Cut:       func() { x.note(cut) },
		Reconnect: func() { x.note(reconnect) },
		Clock:     clock.RealClock{}, // which is fake in here
		Logger:    slog.New(slog.NewTextHandler(saying{x}, nil)),
	})
	return x
}

// run lets the replica run, and requests come in.
func (x *scene) run() {
	x.runUnasked()
	go func() {
		was := false
		for {
			if is := x.Serving(time.Now()); is != was {
				was = is
				x.note(map[bool]string{true: up, false: down}[is])
			}
			select {
			case <-x.ended:
				return
			case <-time.After(sampleEvery):
			}
		}
	}()
}

// runUnasked lets the replica run, and no request come in.
func (x *scene) runUnasked() {
	ctx, end := context.WithCancel(x.t.Context())
	x.end, x.ended = end, make(chan struct{})
	go func() {
		defer close(x.ended)
		x.Run(ctx)
	}()
	synctest.Wait()
}

// until lets time pass, and everybody do what they have to at that time.
func (x *scene) until(at time.Duration) {
	time.Sleep(time.Until(x.began.Add(at)))
	synctest.Wait()
}

func (x *scene) now() time.Duration { return time.Since(x.began) }

func (x *scene) serving() bool { return x.Serving(time.Now()) }

func (x *scene) note(what string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.journal = append(x.journal, moment{x.now(), what})
}

// moments returns the moments of those kinds from a time on, in order.
func (x *scene) moments(from time.Duration, what ...string) (found []moment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.journal {
		if m.at >= from && slices.Contains(what, m.what) {
			found = append(found, m)
		}
	}
	return found
}

// order is what of those kinds has happened from a time on, in one line.
func (x *scene) order(from time.Duration, what ...string) string {
	var names []string
	for _, m := range x.moments(from, what...) {
		names = append(names, m.what)
	}
	return strings.Join(names, " ")
}

// last returns when something happened for the last time.
func (x *scene) last(what ...string) time.Duration {
	x.t.Helper()
	found := x.moments(0, what...)
	if len(found) == 0 {
		x.t.Fatalf("there was no %v", what)
	}
	return found[len(found)-1].at
}

// renewed returns when the last renewal that has been answered was sent.
func (x *scene) renewed() (sent time.Duration) {
	x.t.Helper()
	x.last(patched, created)
	var pending time.Duration
	for _, m := range x.moments(0, patch, create, patched, created) {
		switch m.what {
		case patch, create:
			pending = m.at
		default:
			sent = pending
		}
	}
	return sent
}

// lawful goes through what has happened. From the beginning, and from when it stopped serving, a replica registers,
// then lists, then serves.
func (x *scene) lawful() {
	x.t.Helper()
	registered, listing, listed := false, false, false
	for _, m := range x.moments(0, patched, created, relist, relisted, up, down, cut, leave) {
		switch m.what {
		case down, cut, leave:
			registered, listing, listed = false, false, false
		case patched, created:
			registered = true
		case relist:
			listing = registered
		case relisted:
			listed = listing
		case up:
			if !listed {
				x.t.Errorf("at %s it serves without having registered and then listed: %v", m.at, x.moments(0, patched, created, relist, relisted, up, down, cut))
			}
		}
	}
}

// logged returns when something was logged that contains the text, from a time on.
func (x *scene) logged(from time.Duration, text string) (at []time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.said {
		if m.at >= from && strings.Contains(m.what, text) {
			at = append(at, m.at)
		}
	}
	return at
}

// saying takes a scene's log.
type saying struct{ *scene }

func (y saying) Write(line []byte) (int, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	_, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" ")) // without the time
	y.said = append(y.said, moment{y.now(), string(text)})
	return len(line), nil
}

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

func (l *leases) Create(ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
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

func (l *leases) Patch(ctx context.Context, name string, kind types.PatchType, body []byte, _ metav1.PatchOptions, _ ...string) (*coordinationv1.Lease, error) {
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

	mu      sync.Mutex
	version string
	revoked map[types.UID]struct{}
	heard   time.Time // zero: at this very moment
	list    fault
	took    time.Duration // of the last list
	asked   int           // how often Applied was
	stuck   chan struct{} // see stick
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
