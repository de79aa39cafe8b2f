// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCoalescer lets many call at once, over and over. A result is its number.
func TestCoalescer(t *testing.T) {
	const callers, calls = 32, 100
	var b coalescer[int32]
	var begun, running atomic.Int32
	failed := errors.New("no route")
	do := func() (int32, error) {
		if running.Add(1) != 1 {
			t.Error("two are made at once")
		}
		defer running.Add(-1)
		n := begun.Add(1)
		for range 20 {
			runtime.Gosched() // others call meanwhile
		}
		if n%3 == 0 {
			return n, failed
		}
		return n, nil
	}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range calls {
				before := begun.Load()
				n, err := b.get(do)
				if n <= before {
					t.Errorf("the result is number %d; number %d had begun before the call", n, before)
				}
				if (n%3 == 0) != errors.Is(err, failed) {
					t.Errorf("number %d comes with the error %v", n, err)
				}
			}
		})
	}
	all.Wait()
}

// TestCoalescerBeginsAfterTheCall: one is being made when somebody calls. That one is not for him, even if he waits for
// it.
func TestCoalescerBeginsAfterTheCall(t *testing.T) {
	var b coalescer[int]
	begun, finish := make(chan int), make(chan struct{})
	n := 0
	do := func() (int, error) {
		n++
		begun <- n
		<-finish
		return n, nil
	}
	var all sync.WaitGroup
	for want := range 5 {
		all.Go(func() {
			if got, _ := b.get(do); got != want+1 {
				t.Errorf("caller %d has result %d", want+1, got)
			}
		})
		if want == 0 {
			<-begun
			continue
		}
		for waits := false; !waits; runtime.Gosched() {
			b.mu.Lock()
			waits = b.next != nil
			b.mu.Unlock()
		}
		finish <- struct{}{}
		if got := <-begun; got != want+1 {
			t.Errorf("%d begins, want %d", got, want+1)
		}
	}
	finish <- struct{}{}
	all.Wait()
}
