// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"math"
	"sync"
)

// line is things that wait to be done, first come first. It is never full: what waits there must not be forgotten, and
// those who bring it can't wait.
type line[T any] struct {
	mu    sync.Mutex
	items []T
	nudge chan struct{} // there are some
}

func newLine[T any]() line[T] { return line[T]{nudge: make(chan struct{}, 1)} }

func (l *line[T]) add(item T) { l.addBelow(math.MaxInt, item) }

// addBelow is add for what can be done without: it adds nothing, and returns false, if that many wait already.
func (l *line[T]) addBelow(most int, item T) bool {
	l.mu.Lock()
	short := len(l.items) < most
	if short {
		l.items = append(l.items, item)
	}
	l.mu.Unlock()
	select {
	case l.nudge <- struct{}{}:
	default:
	}
	return short
}

// next takes the first item out.
func (l *line[T]) next() (item T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.items) == 0 {
		return item, false
	}
	var none T
	item, l.items[0] = l.items[0], none
	l.items = l.items[1:]
	return item, true
}

// serve does what is in the line, one after another, until ctx ends.
func (l *line[T]) serve(ctx context.Context, do func(T)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.nudge:
		}
		for ctx.Err() == nil {
			item, ok := l.next()
			if !ok {
				break
			}
			do(item)
		}
	}
}
