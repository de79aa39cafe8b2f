// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"sync"

	"github.com/letmepost/letmepost-operator/internal/turns"
)

// oneAtATime lets one in at a time, and of those that wait each organization in turn. The zero value is ready for use.
type oneAtATime struct {
	mu      sync.Mutex
	busy    bool
	waiting turns.Queue[chan struct{}] // closed: it is their turn
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
	turn = make(chan struct{})
	q.waiting.Push(organization, turn)
	return turn, true
}

// unqueue tells whether somebody has waited until now. False: leave has chosen it at the same moment, so the place is
// the caller's, to be passed on.
func (q *oneAtATime) unqueue(organization string, turn chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.Remove(organization, func(other chan struct{}) bool { return other == turn })
}

// leave lets the next one in. The place goes from hand to hand and is not free in between, so nobody who comes just
// then overtakes those who wait.
func (q *oneAtATime) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	next, ok := q.waiting.Pop()
	if !ok {
		q.busy = false
		return
	}
	close(next)
}
