// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/turns"
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
	// answeredAfter is how many renewals after it was asked for something a replica has answered that: the first brings it
	// the question, the second has the answer.
	answeredAfter = 2
	// obeyAfter is how long the controller may wait for something before the replica takes its watches for broken and
	// lists anew, which is dear: one that is merely late catches up in that time.
	obeyAfter = 2 * time.Second
)

// Nudge tells the replicas that are late which resourceVersion is awaited, and takes that off the Leases of the others.
// Where a Lease is full, it asks for the keys that are awaited and left out.
//
// Model: step Nudge.
func (b *Barrier) Nudge(ctx context.Context) error {
	var errs []error
	for name, w := range b.nudges() {
		body, err := w.patch()
		if err == nil {
			_, err = b.leases.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("tell replica %s what is awaited: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// nudges returns what is to be written on which Lease. What it returns counts as written. If the write fails, the next
// sight of the Lease, which does not have it, makes it due again.
func (b *Barrier) nudges() map[string]word {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, due := b.clock.Now(), map[string]word{}
	for name, r := range b.replicas {
		if r.expired(now) {
			continue // nobody waits for it
		}
		late := b.lateFor(r, now)
		w := word{}
		leftOut := func(d *pendingDeletion) bool { return r.leavesOut(d, now) }
		r.tell(w, newer(newest(slices.DeleteFunc(slices.Clone(late), leftOut)), b.untold(r, now)), now)
		if r.turnIsOver(now) || len(late) == 0 {
			r.askFor(w, r.choose(late), now)
		}
		if len(w) > 0 {
			due[name] = w
		}
	}
	return due
}

// tell adds to w which resourceVersion is awaited, if r is to be told.
func (r *replica) tell(w word, awaited string, now time.Time) {
	switch {
	case awaited == "" && r.awaited != "":
		w[v1alpha1.AnnotationAwaited], r.awaited = nil, ""
	case awaited != "" && before(r.awaited, awaited) && now.Sub(r.nudged) >= nudgeEvery:
		w[v1alpha1.AnnotationAwaited], r.awaited, r.nudged = &awaited, awaited, now
	}
}

// turnIsOver tells whether it is time to ask r for other keys than before: it has had time to read what stands on its
// Lease, and to answer it.
//
// Model: step Ask.
func (r *replica) turnIsOver(now time.Time) bool {
	return now.Sub(r.askedAt) >= nudgeEvery && r.renewals >= answeredAfter
}

// askFor adds to w which keys r is asked for.
func (r *replica) askFor(w word, ask []*pendingDeletion, now time.Time) {
	if len(ask) == 0 {
		if r.asked != "" {
			w[v1alpha1.AnnotationAsked], r.asked = nil, ""
		}
		return
	}
	r.turn++
	r.askedAt, r.renewals = now, 0
	ids := make([]types.UID, 0, len(ask))
	for _, d := range ask {
		ids = append(ids, d.id)
		r.askedIn[string(d.id)], r.askedIn[d.name.Namespace] = r.turn, r.turn
	}
	if asked := encodeIDs(ids); asked != r.asked {
		w[v1alpha1.AnnotationAsked], r.asked = &asked, asked
	}
}

// leavesOut tells whether r may well refuse d and says nothing of it because its Lease is full: by its own word it has
// applied the deletion, and nobody has asked it for d, or it had no time to answer that. Whoever is told what is
// awaited lists all ApiKeys anew, and hears of nothing meanwhile. If it were told of what is left out, one organization
// with more deletions than a Lease has places would have all replicas list for as long as they last.
func (r *replica) leavesOut(d *pendingDeletion, now time.Time) bool {
	if r.awaited != "" && !before(r.awaited, d.resourceVersion) {
		return false // it has been told, and that stands until it names d
	}
	turn := r.askedIn[string(d.id)] // 0: it was not asked
	return len(r.revoked) >= MaxNamed && !before(r.applied, d.resourceVersion) &&
		(turn == 0 || turn == r.turn && !r.turnIsOver(now))
}

// lateFor returns the deletions that have waited for r for longer than nudgeAfter.
func (b *Barrier) lateFor(r *replica, now time.Time) (late []*pendingDeletion) {
	for _, d := range b.waiting {
		if !d.decided && now.Sub(d.since) >= nudgeAfter && !r.confirms(d.id, d.resourceVersion) {
			late = append(late, d)
		}
	}
	return late
}

// newest is the newest resourceVersion of these deletions, or "".
func newest(late []*pendingDeletion) (awaited string) {
	for _, d := range late {
		awaited = newer(awaited, d.resourceVersion)
	}
	return awaited
}

// newer is the newer one of two resourceVersions, where "" is older than all.
func newer(a, b string) string {
	if b != "" && before(a, b) {
		return b
	}
	return a
}

// untold is the newest resourceVersion at which a key's ApiKey has told r to cancel what the key had queued, and which
// r has not got to, or "". What it has got to, it is not told again: it would list anew for as long as its database is
// away, and hold up what others delete.
func (b *Barrier) untold(r *replica, now time.Time) (awaited string) {
	for _, d := range b.waiting {
		if d.uncanceled() && r.environment == d.environment && now.Sub(d.since) >= nudgeAfter &&
			d.toldAt != "" && before(r.applied, d.toldAt) {
			awaited = newer(awaited, d.toldAt)
		}
	}
	return awaited
}

// choose chooses the keys to ask r for. One that has room on its Lease names all it can as it is.
//
// Of each organization it is one first, and those come first that r has not been asked for the longest. So whatever is
// awaited is asked for in time, however many others can't be confirmed.
//
// Model: step Ask.
func (r *replica) choose(late []*pendingDeletion) []*pendingDeletion {
	if len(r.revoked) < MaxNamed {
		return nil
	}
	turns.Sort(late, func(d *pendingDeletion) string { return d.name.Namespace }, func(a, b *pendingDeletion) int {
		return cmp.Or(
			cmp.Compare(r.askedIn[a.name.Namespace], r.askedIn[b.name.Namespace]),
			cmp.Compare(r.askedIn[string(a.id)], r.askedIn[string(b.id)]),
			a.since.Compare(b.since), cmp.Compare(a.id, b.id),
		)
	})
	return late[:min(maxAsked, len(late))]
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
	n, said := &r.nudge, announcementOn(l)
	n.awaited, r.askedFor = said.awaited, said.asked
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
