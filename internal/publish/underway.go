// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"sync"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// underway is the attempts that requests make, from before the first is sent until how they ended is written down, or
// waits to be. Those of jobs are not in it: the queue waits for its jobs by itself.
type underway struct {
	mu       sync.Mutex
	attempts map[string]struct{} // by id
	ending   bool
	nudge    chan struct{} // some have gone; it holds one, so that nobody who leaves has to wait for the one who waits
}

func newUnderway() underway {
	return underway{attempts: map[string]struct{}{}, nudge: make(chan struct{}, 1)}
}

// enter is called before the first attempt is sent, with all of a request: the end of Run waits for those that have not
// begun as well, because their outcome is written down together with the others'.
func (u *underway) enter(attempts []store.Attempt) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, a := range attempts {
		u.attempts[a.ID] = struct{}{}
	}
}

// leave is called when what became of attempts is written down, or waits where the end of Run finds it. Outcomes of
// jobs come here too, and are not found.
func (u *underway) leave(outcomes []store.Outcome) {
	u.mu.Lock()
	for _, o := range outcomes {
		delete(u.attempts, o.Attempt.ID)
	}
	u.mu.Unlock()
	select {
	case u.nudge <- struct{}{}:
	default:
	}
}

// end has nothing more sent: attempts that have not begun end as not sent.
func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ending = true
}

// isEnding tells whether nothing more is to be sent.
func (u *underway) isEnding() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ending
}

// wait returns when all have left, or late is closed, and tells how many have not. It is for one goroutine: a nudge
// wakes one only.
func (u *underway) wait(late <-chan struct{}) int {
	for {
		u.mu.Lock()
		left := len(u.attempts)
		u.mu.Unlock()
		if left == 0 {
			return 0
		}
		select {
		case <-u.nudge:
		case <-late:
			return left
		}
	}
}
