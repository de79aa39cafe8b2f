// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package write

import (
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// Pauses between two looks at a claim that somebody waits for. It may be another process's, so the database is asked,
// and not a channel; the last pause is what an answer comes late by.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// maxWaiting is how many requests of one actor wait at a time. Each holds a connection and asks the database twice a
// second; whoever has more of them is told at once that the request is running.
const maxWaiting = 16

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
