// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// started runs a process on a database that it may not get to work with, and returns what it says.
func started(t *testing.T, url string) (db *store.DB, said <-chan string) {
	t.Helper()
	lines := make(chan string, 1)
	db, err := store.Open(store.Options{
		URL: url, Clock: clocktesting.NewFakeClock(now), NewID: newID, Logger: slog.New(slog.NewTextHandler(first(lines), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); db.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done; _ = db.Close() })
	return db, lines
}

// says waits for what a process says first, which must hold all of some texts.
func says(t *testing.T, db *store.DB, said <-chan string, want ...string) {
	t.Helper()
	select {
	case line := <-said:
		for _, text := range want {
			if !strings.Contains(line, text) {
				t.Errorf("it says %q, want %q in it", line, text)
			}
		}
	case <-time.After(time.Minute):
		t.Fatal("it says nothing")
	}
	if db.Writable() {
		t.Error("it is ready all the same")
	}
}

// TestDatabasesThatAreNotUTF8 are refused before anything is stored in them, each of PostgreSQL's kinds: those that
// lack characters, those of several bytes, and the one that takes any bytes.
func TestDatabasesThatAreNotUTF8(t *testing.T) {
	for _, encoding := range []string{"LATIN1", "WIN1252", "EUC_KR", "SQL_ASCII"} {
		url := postgres.StartWith(t, "TEMPLATE template0 LOCALE 'C' ENCODING '"+encoding+"'")
		db, said := started(t, url)
		says(t, db, said, encoding, "CREATE DATABASE letmepost TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
		if tables := count(t, url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); tables != 0 {
			t.Errorf("%s: %d tables were made in it", encoding, tables)
		}
	}
	// What the sentence says makes one that is taken.
	url := postgres.StartWith(t, "TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
	db, _ := opened(t, url+"&client_encoding=LATIN1")
	v := viewOf(t, db)
	p := post(put(t, v, account("")), saying("한국어, クシャ क्ष"))
	add(t, v, p)
	if got := read(t, v, p.ID); got.Text != p.Text {
		t.Errorf("read %q, want %q", got.Text, p.Text)
	}
}

// TestPoolers: one that shares sessions is refused before anything is stored, one that does not is worked with.
func TestPoolers(t *testing.T) {
	server := postgres.StartServer(t)
	for _, mode := range []string{"transaction", "statement"} {
		db, said := started(t, server.Through(t, mode))
		says(t, db, said, "another session", "pool_mode=session", "connect to PostgreSQL itself")
		if tables := count(t, server.Address, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); tables != 0 {
			t.Errorf("%s: %d tables were made through it", mode, tables)
		}
	}
	for range 2 { // the second finds what the first has left in the pooler's sessions
		db, stop := open(t, server.Through(t, "session"), clocktesting.NewFakeClock(now))
		put(t, viewOf(t, db), account(""))
		stop()
	}
	if locks := count(t, server.Address, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); locks != 0 {
		t.Errorf("%d locks stay behind", locks)
	}
}

// TestMigrationsSayWhomTheyWaitFor: a lock that stays behind in some session must not make a process wait in silence.
func TestMigrationsSayWhomTheyWaitFor(t *testing.T) {
	url := postgres.Start(t)
	other, err := sql.Open("pgx", url+"&application_name=left-behind")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", int64(store.MigrationLock)); err != nil {
		t.Fatal(err)
	}
	db, said := started(t, url)
	says(t, db, said, "waiting", "left-behind", "pid ")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-db.Migrated():
	case <-time.After(time.Minute):
		t.Error("it does not migrate once the lock is free")
	}
}

// TestMigrationsWaitNotForEver: a process that waits in vain says how to end it.
func TestMigrationsWaitNotForEver(t *testing.T) {
	url := postgres.Start(t)
	db, _ := opened(t, url)
	other := connect(t, url)
	if _, err := other.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", int64(store.MigrationLock)); err != nil {
		t.Fatal(err)
	}
	err := store.Migrate(t.Context(), db, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "pid ") || !strings.Contains(err.Error(), "pg_terminate_backend") {
		t.Errorf("error %v", err)
	}
}

func connect(t *testing.T, url string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// count returns the number that a query has for its answer.
func count(t *testing.T, url, query string) (n int) {
	t.Helper()
	if err := connect(t, url).QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
