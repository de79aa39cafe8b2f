// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// makeReadOnly has all connections of a pool refuse writes, as those to a primary that has become a standby do.
func makeReadOnly(t *testing.T, pool *sql.DB) {
	t.Helper()
	for range pool.Stats().MaxOpenConnections {
		conn, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() // together, so that each is another
		if _, err := conn.ExecContext(t.Context(), "SET default_transaction_read_only = on"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConnectionsThatBecomeReadOnly are dropped by whoever sees it, and nobody is told of it: what failed was not done.
func TestConnectionsThatBecomeReadOnly(t *testing.T) {
	for name, write := range map[string]func(*store.View) error{
		"a transaction": func(v *store.View) error {
			return v.Write(t.Context(), func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err })
		},
		"a claim": func(v *store.View) error {
			r := request
			r.IdempotencyKey = newID()
			_, _, err := v.Claim(t.Context(), r)
			return err
		},
	} {
		db, _ := open(t, postgres.Start(t), clock.RealClock{}, func(o *store.Options) { o.DeadAfter = time.Hour })
		v := viewOf(t, db)
		makeReadOnly(t, store.Handle(db))
		makeReadOnly(t, store.Pulse(db))
		for range 2 * store.Handle(db).Stats().MaxOpenConnections {
			if err := write(v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// TestReadinessSaysThatItIsReadOnly, for as long as new connections are, too, and no longer. What only reads goes on.
func TestReadinessSaysThatItIsReadOnly(t *testing.T) {
	url := postgres.Start(t)
	db, _ := open(t, url, clock.RealClock{}, func(o *store.Options) { o.DeadAfter = 200 * time.Millisecond })
	if !db.Writable() {
		t.Fatal("it is not ready")
	}
	v := viewOf(t, db)
	p := post(put(t, v, account("")))
	add(t, v, p)
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	admin := connect(t, url)
	exec := func(statement string) {
		if _, err := admin.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("ALTER DATABASE " + name + " SET default_transaction_read_only = on")
	makeReadOnly(t, store.Handle(db))
	makeReadOnly(t, store.Pulse(db))
	becomes(t, db, false)
	err := v.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.CancelPost(p.ID); return err })
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("written: %v", err)
	}
	read(t, v, p.ID)
	exec("SET transaction_read_only = off; ALTER DATABASE " + name + " RESET default_transaction_read_only")
	becomes(t, db, true)
	await(t, func() error {
		return v.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.CancelPost(p.ID); return err })
	})
}

func becomes(t *testing.T, db *store.DB, writable bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); db.Writable() != writable; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute, it is not writable=%v", writable)
		}
	}
}
