// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package write

import (
	"context"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Pauses between two looks at what somebody waits for. It may be another process's, so the database is asked, and not a
// channel; the last pause is what an answer comes late by.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// maxWaiting is how many requests of one actor wait at a time. Each holds a connection and asks the database twice a
// second; whoever has more of them is told at once that the request is running.
const maxWaiting = 16

// Await looks until done tells that another process is done with this request, and waits in between as Claim does, in
// all for no longer than the protocol says. The error is store.ErrInProgress if that was not enough, ctx's, or done's.
func (o *Operation) Await(ctx context.Context, done func(context.Context) (bool, error)) error {
	if ok, err := done(ctx); ok || err != nil {
		return err
	}
	return o.wait(ctx, done)
}

// wait is Await without the first look. Whoever waits twice, for a claim and then for what had begun under it, has one
// time for both.
func (o *Operation) wait(ctx context.Context, done func(context.Context) (bool, error)) error {
	if o.protocol.Wait <= 0 || !o.protocol.waiting.enter(o.view) {
		return store.ErrInProgress
	}
	defer o.protocol.waiting.leave(o.view)
	if o.OnWait != nil {
		o.OnWait(o.protocol.Wait)
	}
	within, cancel := context.WithTimeout(ctx, o.protocol.Wait)
	defer cancel()
	if o.until.IsZero() {
		o.until, _ = within.Deadline()
	}
	within, cancel = context.WithDeadline(within, o.until)
	defer cancel()
	for pause := firstPause; retry.Pause(within, pause); pause = min(2*pause, lastPause) {
		// An error after the time is up is that of the time.
		if ok, err := done(within); ok || err != nil && within.Err() == nil {
			return err
		}
	}
	if ctx.Err() != nil { // the caller has gone, or is not good any more
		return ctx.Err()
	}
	return store.ErrInProgress
}

// waiting counts who waits, by actor. The zero waiting is ready.
type waiting struct {
	mu sync.Mutex
	of map[string]int
}

// enter takes a place to wait, if there is one.
func (w *waiting) enter(view *store.View) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of[view.Actor()] >= maxWaiting {
		return false
	}
	if w.of == nil {
		w.of = map[string]int{}
	}
	w.of[view.Actor()]++
	return true
}

func (w *waiting) leave(view *store.View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of[view.Actor()]--; w.of[view.Actor()] == 0 {
		delete(w.of, view.Actor())
	}
}
