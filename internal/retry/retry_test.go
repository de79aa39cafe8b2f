// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Pause(ctx, time.Hour) {
		t.Error("Pause = true, want false: its context has ended")
	}
	if !Pause(t.Context(), time.Nanosecond) {
		t.Error("Pause = false, want true: the time has passed")
	}
}

func TestUntil(t *testing.T) {
	failure := errors.New("away")
	for _, tc := range []struct {
		reason      string
		failures    int // until it succeeds
		giveUpAfter int // attempts
		cancelAfter int // attempts
		want        error
		attempts    int
	}{
		{"it succeeds at once", 0, 9, 9, nil, 1},
		{"it succeeds in the end", 3, 9, 9, nil, 4},
		{"who asks gives up: the last error is told", 9, 2, 9, failure, 2},
		{"the context ends: that is told, and not what failed", 9, 9, 2, context.Canceled, 2},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		attempts := 0
		err := Backoff{time.Nanosecond, time.Microsecond}.Until(ctx, func(context.Context) error {
			if attempts++; attempts == tc.cancelAfter {
				cancel()
			}
			if attempts <= tc.failures {
				return failure
			}
			return nil
		}, func(error) bool { return attempts < tc.giveUpAfter })
		cancel()
		if !errors.Is(err, tc.want) || attempts != tc.attempts {
			t.Errorf("%s: %v after %d attempts, want %v after %d", tc.reason, err, attempts, tc.want, tc.attempts)
		}
	}
}

func TestComplaint(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for _, tc := range []struct {
		reason string
		every  time.Duration
		said   []string // one a second; "" clears
		want   string   // which are due
	}{
		{"once, until it changes", 0, []string{"a", "a", "a", "b", "a"}, "ynnyy"},
		{"and again when it was over meanwhile", 0, []string{"a", "", "a"}, "y-y"},
		{"again after its time", 2 * time.Second, []string{"a", "a", "a", "a"}, "ynyn"},
	} {
		c, got := Complaint{Every: tc.every}, ""
		for i, text := range tc.said {
			switch {
			case text == "":
				c.Clear()
				got += "-"
			case c.Due(text, at(i)):
				got += "y"
			default:
				got += "n"
			}
			if c.Standing() != (text != "") {
				t.Errorf("%s: after %q, Standing = %v", tc.reason, tc.said[:i+1], c.Standing())
			}
		}
		if got != tc.want {
			t.Errorf("%s: due %s, want %s", tc.reason, got, tc.want)
		}
	}
}
