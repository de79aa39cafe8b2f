// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"time"
)

const (
	// slowListAfter is how long the first list may take before the log says why nothing is served yet.
	slowListAfter = 2 * time.Second
	// maxSilence is how long a watch may be silent before it is taken for broken. An apiserver sends a bookmark a minute.
	maxSilence = 75 * time.Second
	// longestList is how long a list may take at most for the sake of those that took long before it.
	longestList = 10 * time.Minute
)

// relistWithin bounds a list: while it is under way, this replica renews its Lease and can name nothing that it has not
// seen, so deletions wait for it. It may be far longer than a renewal: a list of very many keys must fit. If it does
// not, the next one is made without a Lease and holds nobody up (join); and how long that took says how long one may
// take that is made with it. Otherwise a replica whose list takes longer would list for ever, and never serve.
func (r *Replica) relistWithin() time.Duration {
	return max(4*r.Duration, min(2*r.Store.ListTook(), longestList))
}

// listing is a list of the store that was asked for.
type listing struct {
	done  chan struct{} // closed when it has been applied; nil once that has been noticed
	since time.Time
	asked string // what the controller waited for when the list was asked for
}

// relist lets the store list anew, in the background: the Lease is to be renewed meanwhile.
//
// Model: step List.
func (r *Replica) relist(ctx context.Context) *listing {
	l := &listing{done: make(chan struct{}), since: r.Clock.Now(), asked: r.nudge.awaited}
	go func() {
		if r.Store.Relist(ctx) == nil {
			close(l.done)
		}
	}()
	return l
}

// listed takes note of a list that has been applied. The first one opens the fence.
func (r *Replica) listed(l *listing) error {
	r.nudge.answer(l.asked)
	opening := r.fence.waits()
	if !r.fence.open(r.Clock.Now()) {
		return errLapsed
	}
	if opening {
		r.complaint.Clear()
		r.Logger.Info("serving: registered, and all keys and profiles are loaded",
			"lease", r.Name, "after", r.Clock.Since(l.since).Round(time.Millisecond).String())
	}
	return nil
}

// keepInStep asks for a new list when the watches are to be taken for broken. If a list does not come, the error ends
// this replica's hold of the Lease: as long as it renews that without being able to confirm anything, every deletion
// waits for it.
//
// Model: step GiveUp.
func (r *Replica) keepInStep(ctx context.Context, list *listing) (*listing, error) {
	now := r.Clock.Now()
	if list.done == nil {
		if r.watchesBroken(now) {
			return r.relist(ctx), nil
		}
		return list, nil
	}
	switch waited := now.Sub(list.since); {
	case waited > r.relistWithin():
		r.relistsFail = true
		r.Reconnect()
		return nil, errNoList
	case waited > slowListAfter && r.fence.waits():
		r.warn(notServing, errListing)
	}
	return list, nil
}

// watchesBroken tells whether it is time to take the watches for broken, and logs why.
func (r *Replica) watchesBroken(now time.Time) bool {
	if r.nudge.overdue(now) {
		r.Logger.Warn("the controller waits for this replica: listing anew",
			"lease", r.Name, "awaited", r.nudge.awaited)
		return true
	}
	if silence := now.Sub(r.Store.Heard()); silence > maxSilence {
		r.Logger.Warn("a watch has been silent for too long: listing anew",
			"lease", r.Name, "silent", silence.Round(time.Second).String())
		return true
	}
	return false
}
