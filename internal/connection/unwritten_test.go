// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// TestDueWhileNothingIsWritten: a look ends, too, if the database lets nothing be written of what it finds. All of that
// is due as before, and would be looked at again and again.
func TestDueWhileNothingIsWritten(t *testing.T) {
	for reason, only := range map[string]string{
		"nothing at all": "", "what begins a refresh": " WHEN NEW.renewing_until > OLD.renewing_until",
	} {
		t.Run(reason, func(t *testing.T) {
			url := "sqlite:" + t.TempDir() + "/test.db"
			p := start(t, url, vault.Fixed(keyset(t)), newRotating())
			view := p.db.View(admitted(t))
			for range 2 * connection.DueAtOnce {
				p.connect(t, view, first(), refreshAt(now))
			}
			db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(url, "sqlite:"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.ExecContext(t.Context(), "CREATE TRIGGER unwritten BEFORE UPDATE ON accounts"+only+
				" BEGIN SELECT RAISE(ABORT, 'no'); END"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.Look(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}
