// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A watch may lose an event and go on as if nothing were wrong. The replica can't notice; but the controller can, when
// a deletion waits for it. So the controller writes on the replica's Lease which resourceVersion it waits for, the
// replica reads that on the answer to its next renewal, and lists anew if it stays there.

const (
	// nudgeAfter is how long a deletion waits for a replica before the replica is told. Most are confirmed long before.
	nudgeAfter = 500 * time.Millisecond
	// nudgeEvery is the least time between two nudges of the same replica, which reads them when it renews its Lease:
	// more would be overwritten unread.
	nudgeEvery = 2 * time.Second
	// obeyAfter is how long the controller may wait for something before the replica takes its watches for broken and
	// lists anew, which is dear: one that is merely late catches up in that time.
	obeyAfter = 2 * time.Second
)

// Nudge tells the replicas that are late which resourceVersion is awaited, and takes that off the Leases of the others.
//
// Model: step Nudge.
func (b *Barrier) Nudge(ctx context.Context) error {
	var errs []error
	for name, awaited := range b.nudges() {
		body, err := awaitedPatch(awaited)
		if err == nil {
			_, err = b.leases.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("tell replica %s what is awaited: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// nudges returns what is to be written on which Lease; nil: nothing is awaited any more. What it returns counts as
// written. If the write fails, the next sight of the Lease, which does not have it, makes it due again.
func (b *Barrier) nudges() map[string]*string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, due := b.clock.Now(), map[string]*string{}
	for name, r := range b.replicas {
		awaited := b.awaitedOf(r, now)
		switch {
		case r.expired(now): // nobody waits for it
		case awaited == "" && r.awaited != "":
			due[name], r.awaited = nil, ""
		case awaited != "" && before(r.awaited, awaited) && now.Sub(r.nudged) >= nudgeEvery:
			due[name], r.awaited, r.nudged = &awaited, awaited, now
		}
	}
	return due
}

// awaitedOf is the newest resourceVersion that a deletion has awaited of a replica for longer than nudgeAfter, or "".
func (b *Barrier) awaitedOf(r *replica, now time.Time) (awaited string) {
	for _, d := range b.waiting {
		late := now.Sub(d.since) >= nudgeAfter && !r.confirms(d.id, d.resourceVersion)
		if late && before(awaited, d.resourceVersion) {
			awaited = d.resourceVersion
		}
	}
	return awaited
}

// nudge is what the controller waits for, as this replica last read it on its Lease.
type nudge struct {
	awaited  string
	since    time.Time // when something was first awaited that no list has answered; zero: nothing is
	answered string    // what was awaited when the last list was asked for
}

// obey takes in what the controller waits for. A list is consistent, so one is enough for whatever was awaited when it
// was asked for. It follows that a controller which never comes back to take its nudge off the Lease does no harm.
//
// Model: step Obey.
func (r *Replica) obey(l *coordinationv1.Lease, now time.Time) {
	n := &r.nudge
	n.awaited = announcementOn(l).awaited
	switch {
	case n.awaited == "" || n.awaited == n.answered:
		n.since = time.Time{}
	case n.since.IsZero():
		n.since = now
	}
}

// answer notes that a list has been applied, and what was awaited when that list was asked for.
func (n *nudge) answer(awaited string) {
	n.answered = awaited
	n.since = time.Time{}
}

// overdue tells whether the controller has waited for so long that the watches are to be taken for broken.
func (n *nudge) overdue(now time.Time) bool {
	return !n.since.IsZero() && now.Sub(n.since) >= obeyAfter
}
