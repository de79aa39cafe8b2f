// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const (
	// nudgeAfter is how long a deletion waits for a replica before the replica is told.
	nudgeAfter = 500 * time.Millisecond
	// nudgeEvery is the least time between two words to the same replica.
	nudgeEvery = 2 * time.Second
	// forgetAfter is how many times its own duration an expired Lease is left for people to see.
	forgetAfter = 20
)

// Barrier is the other end: the controller asks it whom a deletion still waits for.
//
// It judges liveness by its own observations alone. A Lease has expired when it has not been renewed for its whole
// duration since this Barrier first saw the last renewal; to a Barrier that has just been made every Lease is fresh.
type Barrier struct {
	leases coordinationclient.LeaseInterface
	clock  clock.PassiveClock
	lists  batch[snapshot]

	mu       sync.Mutex
	replicas map[string]*replica                // by the name of the Lease
	waiting  map[types.NamespacedName]*deletion // asked about, and not done
}

// replica is what was last seen of a Lease.
type replica struct {
	announcement
	resourceVersion string
	renewed         time.Time     // as it stands on the Lease: it is compared with nothing but itself
	since           time.Time     // when this Barrier first saw that
	duration        time.Duration // L
	nudged          time.Time     // when it was last told what is awaited
}

func (r *replica) expired(now time.Time) bool { return now.Sub(r.since) >= r.duration }

// deletion is an ApiKey that is being deleted.
type deletion struct {
	id              types.UID
	resourceVersion string // of the deletion, or a little later
	since           time.Time
}

// NewBarrier returns a Barrier for the replicas that have their Leases in the namespace of leases.
func NewBarrier(leases coordinationclient.LeaseInterface, clock clock.PassiveClock) *Barrier {
	return &Barrier{
		leases: leases, clock: clock,
		replicas: map[string]*replica{}, waiting: map[types.NamespacedName]*deletion{},
	}
}

// Verdict is the answer to "whom does this deletion wait for?".
type Verdict struct {
	// Awaited names the replicas that may still accept the key.
	Awaited []string
	// Uncanceled is the environment of a key whose deletion is to cancel what it has queued, as long as no replica of that
	// environment has done so; "" otherwise.
	Uncanceled v1alpha1.Environment
	// Replicas is how many there are that have not expired.
	Replicas int
	// Waited is how long the answer has been awaited.
	Waited time.Duration
	// AskAgain is when the passage of time alone may change the answer.
	AskAgain time.Duration
}

// Confirmed tells whether the deletion waits for nobody.
func (v Verdict) Confirmed() bool { return len(v.Awaited) == 0 && v.Uncanceled == "" }

// Ask tells whom the deletion of k waits for. k has its deletionTimestamp. It costs one list of the Leases, which calls
// at the same time share.
//
// The list is sent after k was seen deleted, and it is not from a cache: a replica that is not on it has yet to
// register, will list the ApiKeys after that, and so never accepts k.
//
// Model: step Decide.
func (b *Barrier) Ask(ctx context.Context, k *v1alpha1.ApiKey) (Verdict, error) {
	d := b.expect(k)
	s, err := b.lists.get(func() (snapshot, error) { return b.list(ctx) })
	if err != nil {
		return Verdict{}, err
	}
	v := b.judge(d, s)
	if cancels(k) && !s.canceled(k) {
		v.Uncanceled = k.Spec.Environment
	}
	return v, nil
}

// cancels tells whether the deletion of k is to cancel what k has queued. Without a hash it can't have queued anything.
func cancels(k *v1alpha1.ApiKey) bool {
	return k.Annotations[v1alpha1.AnnotationCancelScheduled] == v1alpha1.CancelScheduled && k.Status.Hash != ""
}

// canceled tells whether a replica of k's environment names k on its Lease, expired or not: it does so only after what
// k has queued is canceled.
func (s snapshot) canceled(k *v1alpha1.ApiKey) bool {
	return slices.ContainsFunc(s.leases, func(l coordinationv1.Lease) bool {
		_, named := announcementOn(&l).revoked[k.UID]
		return named && l.Labels[v1alpha1.LabelReplica] == string(k.Spec.Environment)
	})
}

// expect notes that somebody waits for a deletion.
func (b *Barrier) expect(k *v1alpha1.ApiKey) *deletion {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := types.NamespacedName{Namespace: k.Namespace, Name: k.Name}
	if d := b.waiting[name]; d != nil && d.id == k.UID {
		return d
	}
	d := &deletion{id: k.UID, resourceVersion: k.ResourceVersion, since: b.clock.Now()}
	b.waiting[name] = d
	return d
}

// Done notes that nobody waits for the deletion of that ApiKey any more.
func (b *Barrier) Done(name types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, name)
}

// snapshot is a list of the Leases.
type snapshot struct {
	asked  time.Time // before it was sent
	leases []coordinationv1.Lease
}

// list reads the Leases from the apiserver itself.
//
// Model: step ListLeases.
func (b *Barrier) list(ctx context.Context) (snapshot, error) {
	s := snapshot{asked: b.clock.Now()}
	list, err := b.leases.List(ctx, metav1.ListOptions{LabelSelector: v1alpha1.LabelReplica})
	if err != nil {
		return s, fmt.Errorf("list the Leases of the API replicas: %w", err)
	}
	s.leases = list.Items
	b.mu.Lock()
	defer b.mu.Unlock()
	there := map[string]struct{}{}
	for i := range s.leases {
		b.observe(&s.leases[i])
		there[s.leases[i].Name] = struct{}{}
	}
	for name := range b.replicas {
		if _, ok := there[name]; !ok {
			delete(b.replicas, name)
		}
	}
	return s, nil
}

// observe takes in a Lease as it is. It may be an older state than the last one, if a watch is behind a list.
//
// Model: step Observe.
func (b *Barrier) observe(l *coordinationv1.Lease) {
	r := b.replicas[l.Name]
	if r == nil {
		r = &replica{}
		b.replicas[l.Name] = r
	} else if before(l.ResourceVersion, r.resourceVersion) {
		return
	}
	var renewed time.Time
	if l.Spec.RenewTime != nil {
		renewed = l.Spec.RenewTime.Time
	}
	if r.since.IsZero() || !renewed.Equal(r.renewed) {
		r.since = b.clock.Now()
	}
	r.announcement, r.renewed, r.resourceVersion = announcementOn(l), renewed, l.ResourceVersion
	r.duration = leaseDurationOf(l)
}

// judge decides by a snapshot. A Lease must have expired before the snapshot was asked for: a renewal that is not on it
// then came too late for its replica, which has shut its fence. One that is on it, but was forgotten meanwhile, is
// waited for: it may have left, or an event of a watch or a list that is older than the snapshot did not have it yet.
func (b *Barrier) judge(d *deletion, s snapshot) Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	v := Verdict{Waited: now.Sub(d.since), AskAgain: nudgeEvery}
	if v.Waited < nudgeAfter {
		v.AskAgain = nudgeAfter - v.Waited
	}
	for i := range s.leases {
		l := &s.leases[i]
		r := b.replicas[l.Name]
		if r != nil && r.expired(s.asked) {
			continue // it is counted out
		}
		v.Replicas++
		if announcementOn(l).confirms(d.id, d.resourceVersion) {
			continue
		}
		v.Awaited = append(v.Awaited, l.Name+" ("+ptr.Deref(l.Spec.HolderIdentity, "")+")")
		left := time.Duration(0)
		if r != nil {
			left = r.duration - now.Sub(r.since)
		}
		v.AskAgain = min(v.AskAgain, max(left, time.Millisecond))
	}
	slices.Sort(v.Awaited)
	return v
}

// Observe takes in a Lease that a watch has shown, and returns the ApiKeys about whose deletion it is time to ask
// again.
func (b *Barrier) Observe(l *coordinationv1.Lease) []types.NamespacedName {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observe(l)
	return b.confirmed()
}

// Forget takes in that a Lease is gone, and returns the ApiKeys about whose deletion it is time to ask again.
func (b *Barrier) Forget(name string) []types.NamespacedName {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.replicas, name)
	return b.confirmed()
}

// confirmed returns the deletions that every replica has confirmed, as far as is known. Ask knows for certain.
func (b *Barrier) confirmed() (names []types.NamespacedName) {
	now := b.clock.Now()
	for name, d := range b.waiting {
		if b.unconfirmed(d, now) == 0 {
			names = append(names, name)
		}
	}
	return names
}

func (b *Barrier) unconfirmed(d *deletion, now time.Time) (n int) {
	for _, r := range b.replicas {
		if !r.expired(now) && !r.confirms(d.id, d.resourceVersion) {
			n++
		}
	}
	return n
}

// Nudge tells the replicas that are late which resourceVersion is awaited, and takes that word back from the others.
//
// Model: step Nudge.
func (b *Barrier) Nudge(ctx context.Context) error {
	var errs []error
	for name, awaited := range b.nudges() {
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{v1alpha1.AnnotationAwaited: awaited}, // null removes it
		}})
		if err == nil {
			_, err = b.leases.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("tell replica %s what is awaited: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// nudges returns what is to be written on which Lease; nil: nothing is awaited any more.
func (b *Barrier) nudges() map[string]*string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, words := b.clock.Now(), map[string]*string{}
	for name, r := range b.replicas {
		awaited := b.awaitedOf(r, now)
		switch {
		case r.expired(now):
		case awaited == "" && r.awaited != "":
			words[name], r.awaited = nil, ""
		case awaited != "" && before(r.awaited, awaited) && now.Sub(r.nudged) >= nudgeEvery:
			words[name], r.awaited, r.nudged = &awaited, awaited, now
		}
	}
	return words
}

// awaitedOf is the newest resourceVersion that has been awaited of a replica for too long, or "".
func (b *Barrier) awaitedOf(r *replica, now time.Time) (awaited string) {
	for _, d := range b.waiting {
		if now.Sub(d.since) >= nudgeAfter && !r.confirms(d.id, d.resourceVersion) && before(awaited, d.resourceVersion) {
			awaited = d.resourceVersion
		}
	}
	return awaited
}

// Sweep deletes the Leases of processes that are long gone: one that crashes leaves its own behind.
//
// Model: step Sweep.
func (b *Barrier) Sweep(ctx context.Context) error { return b.remove(ctx, forgetAfter) }

// Bury deletes the Leases of all processes that are gone, for who ends an installation: nobody sweeps after it.
func (b *Barrier) Bury(ctx context.Context) error { return b.remove(ctx, 1) }

// remove deletes the Leases that have not been renewed for so many times their duration.
func (b *Barrier) remove(ctx context.Context, durations time.Duration) error {
	if _, err := b.list(ctx); err != nil {
		return err
	}
	var errs []error
	for name, resourceVersion := range b.stale(durations) {
		err := b.leases.Delete(
			ctx,
			name,
			metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &resourceVersion}},
		)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("delete the Lease of a replica that is gone: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (b *Barrier) stale(durations time.Duration) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, names := b.clock.Now(), map[string]string{}
	for name, r := range b.replicas {
		if now.Sub(r.since) >= durations*r.duration {
			names[name] = r.resourceVersion
		}
	}
	return names
}

// Replicas returns how many replicas there are whose Leases have and have not expired.
func (b *Barrier) Replicas() (live, expired int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	for _, r := range b.replicas {
		if r.expired(now) {
			expired++
		}
	}
	return len(b.replicas) - expired, expired
}

// batch lets callers share one result that was begun after each of them had called.
type batch[T any] struct {
	turn sync.Mutex // one at a time
	mu   sync.Mutex
	next *shared[T] // has not begun
}

type shared[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func (b *batch[T]) get(do func() (T, error)) (T, error) {
	b.mu.Lock()
	s := b.next
	if s != nil {
		b.mu.Unlock()
		<-s.done
		return s.value, s.err
	}
	s = &shared[T]{done: make(chan struct{})}
	b.next = s
	b.mu.Unlock()

	b.turn.Lock()
	defer b.turn.Unlock()
	b.mu.Lock()
	b.next = nil // whoever comes from here on is too late for this one
	b.mu.Unlock()
	s.value, s.err = do()
	close(s.done)
	return s.value, s.err
}
