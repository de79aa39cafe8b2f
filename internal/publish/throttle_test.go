// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestThrottled(t *testing.T) {
	var out bytes.Buffer
	h := newThrottled(slog.NewTextHandler(&out, nil)).WithAttrs([]slog.Attr{slog.Int("n", 1)})
	began := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		reason  string
		level   slog.Level
		message string
		after   time.Duration
		want    bool
	}{
		{"what is not worth a warning", slog.LevelInfo, "started", 0, false},
		{"the first time", slog.LevelError, "away", 0, true},
		{"something else", slog.LevelWarn, "late", time.Second, true},
		{"again too soon", slog.LevelError, "away", 14 * time.Second, false},
		{"again some time later", slog.LevelError, "away", 15 * time.Second, true},
	} {
		out.Reset()
		if h.Enabled(t.Context(), tc.level) {
			if err := h.Handle(t.Context(), slog.NewRecord(began.Add(tc.after), tc.level, tc.message, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Contains(out.String(), tc.message); got != tc.want {
			t.Errorf("%s: logged is %v, want %v", tc.reason, got, tc.want)
		}
	}
}

// TestItsOwnEndIsNoError: what River says of the queries that a stop cuts off is not told, and all else at the end is.
func TestItsOwnEndIsNoError(t *testing.T) {
	running := t.Context()
	over, cancel := context.WithCancel(running)
	cancel()
	late, cancel := context.WithTimeout(running, 0)
	defer cancel()
	for _, tc := range []struct {
		reason string
		ctx    context.Context
		err    string
		want   bool
	}{
		{"a stop cuts a query off", over, "get queue: context canceled", false},
		{"a query fails at the end", over, "disk I/O error", true},
		{"somebody else's context ends", running, "context canceled", true},
		{"a query takes too long", late, "context canceled", true},
	} {
		var out bytes.Buffer
		logger := slog.New(newThrottled(slog.NewTextHandler(&out, nil)))
		logger.ErrorContext(tc.ctx, "Error fetching queue settings", slog.String("err", tc.err))
		if got := out.Len() > 0; got != tc.want {
			t.Errorf("%s: logged is %v, want %v", tc.reason, got, tc.want)
		}
	}
}
