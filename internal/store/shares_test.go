// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// TestOneOrganizationCannotHoldAllConnections: one whose transactions never end leaves room for others', and is told
// that it is too much.
func TestOneOrganizationCannotHoldAllConnections(t *testing.T) {
	db, _ := opened(t, postgres.Start(t)) // in SQLite, nobody writes beside a transaction
	store.Patience(db, 200*time.Millisecond)
	hostile := viewOf(t, db)
	other := db.View(admitted(t, key.Live, nil, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f")))
	end, busy := make(chan struct{}), make(chan error, 40)
	var running sync.WaitGroup
	for range cap(busy) { // more than there are connections
		running.Go(func() {
			busy <- hostile.Write(t.Context(), func(*store.Tx) error { <-end; return nil })
		})
	}
	defer func() { close(end); running.Wait() }()
	if err := <-busy; !errors.Is(err, store.ErrBusy) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("one too many: %v", err)
	}
	a := put(t, other, account(""))
	p := post(a)
	add(t, other, p)
	read(t, other, p.ID)
	if _, _, err := other.Claim(t.Context(), request); err != nil {
		t.Error(err)
	}
	if _, err := hostile.Post(t.Context(), newID()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what it reads waits for what it writes: %v", err)
	}
}

// TestHeartbeatNeedsNobodysConnection: a process whose callers hold all connections is not taken for dead.
func TestHeartbeatNeedsNobodysConnection(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := open(t, url, clock.RealClock{}, func(o *store.Options) { o.DeadAfter = 200 * time.Millisecond })
		pool := store.Handle(db)
		for range pool.Stats().MaxOpenConnections {
			conn, err := pool.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		driver, name := "pgx", url
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			driver, name = "sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
		}
		look, err := sql.Open(driver, name)
		if err != nil {
			t.Fatal(err)
		}
		defer look.Close()
		seen := map[int64]bool{}
		for deadline := time.Now().Add(time.Minute); len(seen) < 4; time.Sleep(10 * time.Millisecond) {
			var at int64
			if err := look.QueryRowContext(t.Context(), "SELECT seen_at FROM processes").Scan(&at); err != nil {
				t.Fatal(err)
			}
			if seen[at] = true; time.Now().After(deadline) {
				t.Fatal("the heartbeat has stopped")
			}
		}
	})
}
