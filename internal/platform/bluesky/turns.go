// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"slices"
	"sync"
)

// oneAtATime lets one in at a time, and of those that wait each organization in turn: however many of one's wait, each
// other one waits for one of them. Of one organization's, whoever came first is first. The zero value is ready for
// use.
type oneAtATime struct {
	mu    sync.Mutex
	busy  bool
	of    map[string][]chan struct{} // who waits, by organization; closed: it is their turn
	turns []string                   // organizations of which somebody waits, the next one first
}

// enter waits until it is its organization's turn, or ctx ends. Without an error, leave is to be called.
func (q *oneAtATime) enter(ctx context.Context, organization string) error {
	turn, wait := q.queue(organization)
	if !wait {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if !q.unqueue(organization, turn) { // it has come after all
			q.leave()
		}
		return ctx.Err()
	}
}

// queue takes the place if it is free, or waits for it. It never waits itself: without wait, the place is the
// caller's already.
func (q *oneAtATime) queue(organization string) (turn chan struct{}, wait bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.busy {
		q.busy = true
		return nil, false
	}
	if q.of == nil {
		q.of = map[string][]chan struct{}{}
	}
	if len(q.of[organization]) == 0 {
		q.turns = append(q.turns, organization)
	}
	turn = make(chan struct{})
	q.of[organization] = append(q.of[organization], turn)
	return turn, true
}

// unqueue tells whether somebody has waited until now. False: leave has chosen it at the same moment, so the place is
// the caller's, to be passed on.
func (q *oneAtATime) unqueue(organization string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.of[organization]
	i := slices.Index(waiting, turn)
	if i < 0 {
		return false
	}
	q.keep(organization, slices.Delete(waiting, i, i+1))
	return true
}

// keep notes who of an organization still waits. Without any, an organization takes no room in q: there may be any
// number of them over time. The caller has the lock.
func (q *oneAtATime) keep(organization string, waiting []chan struct{}) {
	if len(waiting) > 0 {
		q.of[organization] = waiting
		return
	}
	delete(q.of, organization)
	q.turns = slices.DeleteFunc(q.turns, func(o string) bool { return o == organization })
}

// leave lets the next one in. The place goes from hand to hand and is not free in between, so nobody who comes just
// then overtakes those who wait.
func (q *oneAtATime) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.busy = false
		return
	}
	next := q.turns[0]
	q.turns = append(q.turns[1:], next)
	waiting := q.of[next]
	q.keep(next, waiting[1:])
	close(waiting[0])
}
