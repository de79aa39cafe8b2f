// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Barrier is the controller's end: the controller asks it whom a deletion still waits for.
//
// It tells by its own observations alone whether a replica is gone. A Lease has expired when it has not been renewed
// for its whole duration since this Barrier first saw the last renewal; to a Barrier that has just been made every
// Lease is fresh, so a controller that restarts waits longer, and never too short.
type Barrier struct {
	leases coordinationclient.LeaseInterface
	clock  clock.PassiveClock
	lists  coalescer[snapshot]

	mu       sync.Mutex
	replicas map[string]*replica                       // by the name of the Lease
	waiting  map[types.NamespacedName]*pendingDeletion // asked about, and not done
	byID     map[types.UID]*pendingDeletion            // the same, by NameOf
}

// pendingDeletion is an ApiKey that is being deleted, and that somebody has asked about.
type pendingDeletion struct {
	name            types.NamespacedName
	id              types.UID // by NameOf
	resourceVersion string    // of the deletion, or a little later
	since           time.Time
	environment     v1alpha1.Environment
	// decided: no replica was awaited once. None that comes later accepts the key, so none is awaited ever again.
	decided bool
	// cancels: what the key has queued is to be canceled; canceled: a replica of the environment has said that it is.
	cancels, canceled bool
	// toldAt is the resourceVersion at which the ApiKey was seen to tell those replicas that nobody accepts the key; "":
	// it was not.
	toldAt string
}

// NewBarrier returns a Barrier for the replicas that have their Leases in the namespace of leases.
func NewBarrier(leases coordinationclient.LeaseInterface, clock clock.PassiveClock) *Barrier {
	return &Barrier{
		leases: leases, clock: clock,
		replicas: map[string]*replica{},
		waiting:  map[types.NamespacedName]*pendingDeletion{}, byID: map[types.UID]*pendingDeletion{},
	}
}

// Verdict is the answer to "whom does this deletion wait for?".
type Verdict struct {
	// Awaited names the replicas that may still accept the key.
	Awaited []string
	// Uncanceled is the environment of a key whose deletion is to cancel what it has queued, as long as no replica of
	// that environment has done so; "" otherwise.
	Uncanceled v1alpha1.Environment
	// Replicas is how many there are that have not expired.
	Replicas int
	// Reported are, of a confirmed deletion, the leaked keys of the ApiKey's namespace that stand on any Lease. Nothing is
	// missing there that was reported to a replica before it refused the key: it has named the key after that.
	Reported []LeaseReport
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
	return b.verdict(d, s), nil
}

// cancels tells whether the deletion of k is to cancel what k has queued. Without a hash it can't have queued anything.
func cancels(k *v1alpha1.ApiKey) bool {
	return k.Status.Hash != "" && v1alpha1.CancelsScheduled(k.Annotations)
}

// noteCanceled notes whether a replica of d's environment says, or has said, that what d had queued is canceled. It
// says so of what it has canceled after d's ApiKey said that no replica accepts the key, and nothing is queued with it
// from then on: that is why the Lease counts even when it has expired. That a replica refuses the key, and has canceled
// what it found, would not do: another one, whose Lease has run out since, may have queued more.
//
// Model: step Canceled.
func (b *Barrier) noteCanceled(d *pendingDeletion, s snapshot) {
	for i := range s.leases {
		l := &s.leases[i]
		canceled := slices.Contains(s.says[i].canceled, d.id)
		if r := b.replicas[l.Name]; r != nil {
			canceled = canceled || r.named[d.id]
		}
		d.canceled = d.canceled || canceled && l.Labels[v1alpha1.LabelReplica] == string(d.environment)
	}
}

// expect notes that somebody waits for the deletion of k. The first resourceVersion that was seen of it stays: k's
// status changes while it waits, and replicas confirm the deletion, not those changes.
func (b *Barrier) expect(k *v1alpha1.ApiKey) *pendingDeletion {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := types.NamespacedName{Namespace: k.Namespace, Name: k.Name}
	d := b.waiting[name]
	if id := NameOf(k); d == nil || d.id != id {
		b.done(name)
		d = &pendingDeletion{
			name: name, id: id, resourceVersion: k.ResourceVersion, since: b.clock.Now(), environment: k.Spec.Environment,
		}
		b.waiting[name], b.byID[d.id] = d, d
	}
	d.cancels = cancels(k)
	if d.toldAt == "" && v1alpha1.AwaitsCancellation(k) {
		d.toldAt = k.ResourceVersion
	}
	return d
}

// Done notes that nobody waits for the deletion of that ApiKey any more.
func (b *Barrier) Done(name types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done(name)
}

func (b *Barrier) done(name types.NamespacedName) {
	if d := b.waiting[name]; d != nil {
		delete(b.waiting, name)
		delete(b.byID, d.id)
		b.forgetNamed(d.id)
	}
}

// verdict says whom d waits for, by what the Leases in s say. What else has been seen of them may be older than s: a
// watch that is behind, or a list that was sent before.
//
// A replica is counted out if its Lease had expired before s was asked for. Its fence was shut by then, and stays shut:
// a renewal that is not in s came too late for it. That the Lease has expired by now would not do: it may have been
// renewed after s was read, in time for the fence, and its replica be serving.
//
// A Lease that is in s and that b has forgotten since is waited for. Its replica may have left; but it may as well have
// registered again, and what made b forget it be older than s.
func (b *Barrier) verdict(d *pendingDeletion, s snapshot) Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	v := Verdict{Waited: now.Sub(d.since), AskAgain: math.MaxInt64}
	for i := range s.leases {
		l := &s.leases[i]
		if b.countedOut(l.Name, s.asked) {
			continue
		}
		v.Replicas++
		if d.decided || b.confirmedBy(l.Name, s.says[i], d) {
			continue
		}
		v.Awaited = append(v.Awaited, ReplicaName(l))
		left := time.Duration(0) // until the Lease expires
		if r := b.replicas[l.Name]; r != nil {
			left = r.duration - now.Sub(r.since)
		}
		v.AskAgain = min(v.AskAgain, max(left, time.Millisecond)) // 0 would mean: never
	}
	slices.Sort(v.Awaited)
	d.decided = len(v.Awaited) == 0
	v.Reported = s.reportsFor(d)
	if b.noteCanceled(d, s); d.cancels && !d.canceled {
		v.Uncanceled = d.environment
	}
	v.AskAgain = min(v.AskAgain, b.askAgain(d, v.Waited))
	if !b.remembers(d.id) {
		b.forgetNamed(d.id)
	}
	return v
}

// confirmedBy tells whether the replica that has this Lease refuses d's key: it says so on the list, or has said so
// before.
func (b *Barrier) confirmedBy(lease string, said announcement, d *pendingDeletion) bool {
	if said.confirms(d.id, d.resourceVersion) {
		return true
	}
	r := b.replicas[lease]
	return r != nil && r.confirms(d.id, d.resourceVersion)
}

// recheckUncanceled is when to ask again about what waits for nothing but the cancellation, and of which those know who
// are to cancel it: Observe tells when that has come, and the ApiKey's own event when it is not asked for any more.
const recheckUncanceled = time.Minute

// askAgain is when to ask again about d, beside the times at which Leases expire. Observe tells when all have
// confirmed: this is for what it might miss, so it need not be soon if very many are waiting.
func (b *Barrier) askAgain(d *pendingDeletion, waited time.Duration) time.Duration {
	const each = 4 * time.Millisecond
	switch {
	case waited < nudgeAfter:
		return nudgeAfter - waited
	case d.uncanceled() && d.toldAt != "":
		return recheckUncanceled
	}
	return max(nudgeEvery, each*time.Duration(len(b.waiting)))
}
