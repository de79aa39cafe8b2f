// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// repeatAfter is the time between two log entries of the same message.
const repeatAfter = 15 * time.Second

// throttled is a log of warnings and errors in which each message comes once in repeatAfter. River says that the
// database is away with every look at its table, which is once a second for every replica.
type throttled struct {
	slog.Handler
	complaints *complaints
}

// complaints are those of each message. A message is a constant of some program, so there are some dozens of them.
type complaints struct {
	mu        sync.Mutex
	byMessage map[string]*retry.Complaint
}

func newThrottled(h slog.Handler) throttled {
	return throttled{h, &complaints{byMessage: map[string]*retry.Complaint{}}}
}

// Enabled is slog.Handler's. What River tells of its life below a warning is of no use to an operator.
func (h throttled) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// Handle is slog.Handler's.
func (h throttled) Handle(ctx context.Context, r slog.Record) error {
	if isEnd(ctx, r) || !h.complaints.due(r.Message, r.Time) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// isEnd tells whether all that went wrong is that the process ends: River complains of queries that it cuts off itself,
// if it is stopped by its context, as it is here. What else goes wrong at the end is told.
func isEnd(ctx context.Context, r slog.Record) (ends bool) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	r.Attrs(func(a slog.Attr) bool {
		ends = strings.Contains(a.Value.String(), context.Canceled.Error())
		return !ends
	})
	return ends
}

// due looks at the message alone: attributes such as an error's text differ from one time to the next.
func (c *complaints) due(message string, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	complaint := c.byMessage[message]
	if complaint == nil {
		complaint = &retry.Complaint{Every: repeatAfter}
		c.byMessage[message] = complaint
	}
	return complaint.Due(message, at)
}

// WithAttrs is slog.Handler's. What is derived shares the complaints: it says the same.
func (h throttled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return throttled{h.Handler.WithAttrs(attrs), h.complaints}
}

// WithGroup is slog.Handler's.
func (h throttled) WithGroup(name string) slog.Handler {
	return throttled{h.Handler.WithGroup(name), h.complaints}
}
