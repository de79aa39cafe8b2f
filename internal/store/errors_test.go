// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestNotDone: what PostgreSQL has surely not done, and what it may have.
func TestNotDone(t *testing.T) {
	for _, tc := range []struct {
		reason string
		err    error
		want   bool
	}{
		{"its organization has taken all its places", fmt.Errorf("wrapped: %w", ErrBusy), true},
		{"it is not migrated yet", fmt.Errorf("wrapped: %w", errNotYet), true},
		{"it was not reached", fmt.Errorf("wrapped: %w", &pgconn.ConnectError{}), true},
		{"it is a replica", errorOf("ERROR", "25006"), true},
		{"its disk is full", errorOf("ERROR", "53100"), true},
		{"its disk is full while it commits, and it crashes", errorOf("PANIC", "53100"), false},
		{"it shuts down, perhaps after the commit", errorOf("FATAL", "57P01"), false},
		{"the connection broke", io.ErrUnexpectedEOF, false},
		{"it broke while the answer was awaited, which pgx says so, too", fmt.Errorf("wrapped: %w", pgconn.ErrConnClosed), false},
		{"it took too long", context.DeadlineExceeded, false},
	} {
		if got := notDone(tc.err); got != tc.want {
			t.Errorf("%s: %v", tc.reason, got)
		}
	}
}

func errorOf(severity, code string) error {
	// Severity is in the language of the server.
	return fmt.Errorf("wrapped: %w", &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: severity, Code: code})
}
