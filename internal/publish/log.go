// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repeatAfter is the time between two records of the same message.
const repeatAfter = 15 * time.Second

// reticent is a log of warnings and errors, each message now and then. While the database is away, the queue says so
// with every look at it.
type reticent struct {
	slog.Handler
	said *said
}

// said is when a message was last logged. There are some dozens of them.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newReticent(h slog.Handler) reticent { return reticent{h, &said{at: map[string]time.Time{}}} }

// Enabled is slog.Handler's.
func (h reticent) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// Handle is slog.Handler's.
func (h reticent) Handle(ctx context.Context, r slog.Record) error {
	h.said.mu.Lock()
	last, repeated := h.said.at[r.Message]
	repeated = repeated && r.Time.Sub(last) < repeatAfter
	if !repeated {
		h.said.at[r.Message] = r.Time
	}
	h.said.mu.Unlock()
	if repeated {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler's.
func (h reticent) WithAttrs(attrs []slog.Attr) slog.Handler {
	return reticent{h.Handler.WithAttrs(attrs), h.said}
}

// WithGroup is slog.Handler's.
func (h reticent) WithGroup(name string) slog.Handler {
	return reticent{h.Handler.WithGroup(name), h.said}
}
