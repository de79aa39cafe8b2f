// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import "sync"

// coalescer lets callers share one result that was begun after each of them had called. Whoever comes while a result is
// being made waits for the next one. golang.org/x/sync/singleflight does not do: it hands over a result that was begun
// before the call, and here that would be a list of the Leases from before the deletion was seen.
type coalescer[T any] struct {
	turn sync.Mutex // held while a result is made: one at a time
	mu   sync.Mutex // of next
	next *call[T]   // has not begun: it may still be joined
}

// call is one result, and those who wait for it.
type call[T any] struct {
	done  chan struct{} // closed when value and err are set
	value T
	err   error
}

// get calls do, or waits for another caller's do that has not begun yet.
func (c *coalescer[T]) get(do func() (T, error)) (T, error) {
	c.mu.Lock()
	next := c.next
	if next != nil {
		c.mu.Unlock()
		<-next.done
		return next.value, next.err
	}
	next = &call[T]{done: make(chan struct{})}
	c.next = next
	c.mu.Unlock()

	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	c.next = nil // from here on it is begun: whoever calls now is too late for it
	c.mu.Unlock()
	next.value, next.err = do()
	close(next.done)
	return next.value, next.err
}
