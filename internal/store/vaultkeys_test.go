// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestProcessesSayWhatTheyKnow: with each heartbeat, until they are gone.
func TestProcessesSayWhatTheyKnow(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		var knows atomic.Pointer[[]uint32]
		knows.Store(&[]uint32{4_000_000_000, 7})
		clk := clocktesting.NewFakeClock(now)
		often := func(o *store.Options) { o.DeadAfter = time.Second }
		db, _ := open(t, url, clk, often, func(o *store.Options) { o.VaultKeys = func() []uint32 { return *knows.Load() } })
		_, stop := open(t, url, clk, often)
		until(t, func() bool { return cmp.Equal(known(t, db), [][]uint32{{4_000_000_000, 7}, nil}) })
		knows.Store(&[]uint32{7})
		until(t, func() bool { return cmp.Equal(known(t, db), [][]uint32{{7}, nil}) })
		stop()
		until(t, func() bool { return cmp.Equal(known(t, db), [][]uint32{{7}}) })
	})
}

// known is what the processes know, in the order in which they began.
func known(t *testing.T, db *store.DB) (keys [][]uint32) {
	t.Helper()
	list, err := db.Work().VaultKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		keys = append(keys, p.Keys)
	}
	return keys
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not after a minute")
		}
	}
}

// TestReseal walks what other keys have sealed, and replaces nothing that has changed meanwhile.
func TestReseal(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		work, v := db.Work(), viewOf(t, db)
		under := func(key uint32, name, text string) store.SealedSecret {
			return store.SealedSecret{Name: name, KeyID: key, Sealed: []byte(text)}
		}
		first := connected(t, v, account(""), under(1, "a", "1a"), under(2, "b", "1b"), under(3, "c", "1c"))
		second := connected(t, v, account(""), under(3, "a", "2a"), under(2, "b", "2b"), under(1, "c", "2c"))
		count := func(want map[uint32]int) {
			t.Helper()
			by, err := work.SealedBy(t.Context())
			if diff := cmp.Diff(want, by); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		count(map[uint32]int{1: 2, 2: 2, 3: 2})
		var all []store.SealedRow
		for after := (store.SealedRow{}); ; {
			page, err := work.SealedByOthers(t.Context(), 2, after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			all, after = append(all, page...), page[len(page)-1]
		}
		got, organization := map[string]string{}, connectionOf(t, db, first.ID).Organization
		for _, r := range all {
			got[r.AccountID+r.Name] = string(r.Sealed)
			if r.Organization != organization {
				t.Errorf("a row of %q, want %q", r.Organization, organization)
			}
		}
		want := map[string]string{
			first.ID + "a": "1a", first.ID + "c": "1c", second.ID + "a": "2a", second.ID + "c": "2c",
		}
		if diff := cmp.Diff(want, got); diff != "" || len(all) != len(want) {
			t.Fatalf("%d rows (-want +got):\n%s", len(all), diff)
		}
		stale := all[0]
		stale.Sealed = []byte("before")
		if done, err := work.Reseal(t.Context(), stale, 2, []byte("x")); err != nil || done {
			t.Errorf("a row that has changed was replaced: %v, %v", done, err)
		}
		if done, err := work.Reseal(t.Context(), all[0], 2, []byte("again")); err != nil || !done {
			t.Errorf("not replaced: %v, %v", done, err)
		}
		count(map[uint32]int{1: 1, 2: 3, 3: 2})
		if s := connectionOf(t, db, all[0].AccountID).Secrets[0]; s.KeyID != 2 || string(s.Sealed) != "again" {
			t.Errorf("stored: %+v", s)
		}
	})
}

// TestAttach: a command works beside the processes, is none of them, and leaves migrations to them.
func TestAttach(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		attach := func() (*store.DB, error) {
			db, err := store.Open(store.Options{
				URL: url, Clock: clocktesting.NewFakeClock(now), NewID: newID, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			return db, db.Attach(t.Context())
		}
		db, err := attach()
		if err == nil {
			t.Error("attached to a database that nobody has migrated")
		}
		if _, err := db.Work().SealedBy(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("and worked with it: %v", err)
		}
		opened(t, url)
		db, err = attach()
		if err != nil {
			t.Fatal(err)
		}
		if keys := known(t, db); len(keys) != 1 {
			t.Errorf("%d processes, want the one that was there", len(keys))
		}
	})
}

// TestWhateverIsSealedIsSealedAgain: a key may be retired when SealedBy counts nothing under it, so a table with sealed
// texts that SealedBy and SealedByOthers don't know would lose them. Of connecting and sessions, SealedBy alone knows:
// they hold a key for the minutes that their rows last, and whoever uses a session seals it again.
func TestWhateverIsSealedIsSealedAgain(t *testing.T) {
	db, _ := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "live.db"))
	rows, err := store.Handle(db).QueryContext(t.Context(),
		"SELECT m.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' AND c.name = 'sealed'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	if diff := cmp.Diff([]string{"account_secrets", "connecting", "sessions"}, tables); diff != "" || rows.Err() != nil {
		t.Errorf("%v; tables with sealed texts (-known to vaultkeys.go +there):\n%s", rows.Err(), diff)
	}
}
