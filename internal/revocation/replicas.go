// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// replica is what the Barrier last saw of a Lease.
type replica struct {
	announcement
	resourceVersion string
	renewed         time.Time      // as it stands on the Lease: it is compared with nothing but itself
	since           time.Time      // when this Barrier first saw that renewal, by its own clock
	duration        time.Duration  // L
	nudged          time.Time      // when it was last told what is awaited
	askedAt         time.Time      // when it was last asked for keys,
	renewals        int            // how often it has renewed since,
	turn            int            // how often it was asked,
	askedIn         map[string]int // and in which of these turns last for a key, by its UID, or a namespace

	environment v1alpha1.Environment
	// named are the keys that it has named, and that may be asked about; true: it has said that what they had queued is
	// canceled. A Lease has room for so many; but a replica that has named a key refuses it for good, and a Lease has one
	// replica. So what it has once said stays said.
	named map[types.UID]bool
}

// confirms tells whether the replica refuses the key with this UID, whose deletion has this resourceVersion: it has
// named the key, now or before.
func (r *replica) confirms(id types.UID, resourceVersion string) bool {
	_, named := r.named[id]
	return named && !before(r.applied, resourceVersion)
}

// expired counts from when the renewal was seen, which is later than when the replica sent it: the replica's fence,
// which counts from there, has been shut for at least L − F by then.
func (r *replica) expired(now time.Time) bool { return now.Sub(r.since) >= r.duration }

// snapshot is a list of the Leases.
type snapshot struct {
	asked  time.Time // before the list was sent
	leases []coordinationv1.Lease
	says   []announcement // of each of them
}

// reportsFor are the leaked keys of the namespace of a deletion that are reported; none before it is decided, because
// thousands of deletions ask again and again until they are. A Lease that has expired counts as well: whoever held it
// may have answered for it.
func (s snapshot) reportsFor(d *pendingDeletion) (all []LeaseReport) {
	if !d.decided {
		return nil
	}
	for i := range s.leases {
		for _, r := range ReportsOn(&s.leases[i]) {
			if r.Namespace == d.name.Namespace {
				all = append(all, LeaseReport{r, s.leases[i].Name})
			}
		}
	}
	return all
}

// list reads the Leases from the apiserver itself, not from a cache, in which a replica may be missing that has just
// registered.
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
	s.says = make([]announcement, len(s.leases))
	for i := range s.leases {
		s.says[i] = announcementOn(&s.leases[i])
		b.observe(&s.leases[i], s.says[i])
		there[s.leases[i].Name] = struct{}{}
	}
	for name := range b.replicas {
		if _, ok := there[name]; !ok {
			delete(b.replicas, name)
		}
	}
	return s, nil
}

// observe takes in the state of a Lease. A watch may be behind a list, so that the state is older than the one that was
// seen last; it changes nothing then.
//
// Model: step Observe.
func (b *Barrier) observe(l *coordinationv1.Lease, said announcement) {
	r := b.replicas[l.Name]
	if r == nil {
		r = &replica{named: map[types.UID]bool{}, askedIn: map[string]int{}, renewals: answeredAfter}
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
		r.renewals++
	}
	r.announcement, r.renewed, r.resourceVersion = said, renewed, l.ResourceVersion
	r.duration, r.environment = leaseDurationOf(l), v1alpha1.Environment(l.Labels[v1alpha1.LabelReplica])
	for id := range said.revoked {
		if _, known := r.named[id]; !known && b.remembers(id) {
			r.named[types.UID(strings.Clone(string(id)))] = false // not with the whole text that it is part of
		}
	}
	for _, id := range said.canceled {
		if canceled, named := r.named[id]; named && !canceled {
			r.named[types.UID(strings.Clone(string(id)))] = true
		}
	}
}

// remembers tells whether it may still matter who has named a key.
func (b *Barrier) remembers(id types.UID) bool {
	d := b.byID[id]
	return d == nil || !d.decided || d.uncanceled()
}

// forgetNamed forgets who has named a key.
func (b *Barrier) forgetNamed(id types.UID) {
	for _, r := range b.replicas {
		delete(r.named, id)
		delete(r.askedIn, string(id))
	}
}

// forgetUnasked forgets who has named keys that nobody asks about: they were gone before anybody did. One that somebody
// is about to ask about is on the Lease still, or is asked for there.
func (b *Barrier) forgetUnasked() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.replicas {
		for id := range r.named {
			if _, onLease := r.revoked[id]; b.byID[id] == nil && !onLease {
				delete(r.named, id)
			}
		}
		if len(b.waiting) == 0 {
			clear(r.askedIn) // of namespaces, which come and go
		}
	}
}

// Observe takes in a Lease that a watch has shown, and returns the ApiKeys about whose deletion it is time to ask
// again.
func (b *Barrier) Observe(l *coordinationv1.Lease) []types.NamespacedName {
	said := announcementOn(l)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observe(l, said)
	now := b.clock.Now()
	var names []types.NamespacedName
	for id := range said.revoked { // what it does not name, it can't have been the last to confirm
		if d := b.byID[id]; d != nil && !d.decided && b.unconfirmed(d, now) == 0 {
			names = append(names, d.name)
		}
	}
	for _, id := range said.canceled {
		if d := b.byID[id]; d != nil && d.uncanceled() && b.replicas[l.Name].environment == d.environment {
			names = append(names, d.name)
		}
	}
	return names
}

// uncanceled tells whether d waits for nothing but its cancellation.
func (d *pendingDeletion) uncanceled() bool { return d.decided && d.cancels && !d.canceled }

// Forget takes in that a Lease is gone, and returns the ApiKeys about whose deletion it is time to ask again.
func (b *Barrier) Forget(name string) []types.NamespacedName {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.replicas, name)
	return b.confirmed()
}

// confirmed returns the deletions that every replica seen so far has confirmed. It only says when asking is worth a
// list of the Leases: there may be a replica that no watch has shown yet, and Ask finds it.
func (b *Barrier) confirmed() (names []types.NamespacedName) {
	now := b.clock.Now()
	for name, d := range b.waiting {
		if !d.decided && b.unconfirmed(d, now) == 0 {
			names = append(names, name)
		}
	}
	return names
}

func (b *Barrier) unconfirmed(d *pendingDeletion, now time.Time) (n int) {
	for _, r := range b.replicas {
		if !r.expired(now) && !r.confirms(d.id, d.resourceVersion) {
			n++
		}
	}
	return n
}

// countedOut tells whether the Lease of that name had expired before a snapshot was asked for at that time. A Lease
// that b has seen nothing of, or has forgotten, has not.
func (b *Barrier) countedOut(lease string, asked time.Time) bool {
	r := b.replicas[lease]
	return r != nil && r.expired(asked)
}

// Replicas returns how many replicas there are whose Leases have not expired, and how many whose Leases have.
func (b *Barrier) Replicas() (unexpired, expired int) {
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

// Unexpired lists the Leases, and names the replicas whose Leases have not expired: those that may accept keys. None:
// no process accepts any, unless one registers after the list was sent.
func (b *Barrier) Unexpired(ctx context.Context) ([]string, error) {
	s, err := b.list(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for i := range s.leases {
		if l := &s.leases[i]; !b.countedOut(l.Name, s.asked) {
			names = append(names, ReplicaName(l))
		}
	}
	slices.Sort(names)
	return names, nil
}
