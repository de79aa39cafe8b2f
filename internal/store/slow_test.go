// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestSlowReadsAreEnded: what one organization reads and never ends is ended by its time, whether it is slow before its
// first row or after it, and its connection can be used again: the database itself is not at work on it any more. All
// the while others read.
func TestSlowReadsAreEnded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		store.ReadWithin(db, 2*time.Second) // time enough for a first row, and for what others read, on a machine that is busy
		store.Patience(db, 200*time.Millisecond)
		slow := viewOf(t, db)
		other := db.View(admitted(t, key.Live, nil, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f")))
		mine, theirs := post(put(t, slow, account(""))), post(put(t, other, account("")))
		add(t, slow, mine)
		add(t, other, theirs)
		nothing := db.View(admitted(t, key.Live, nil, authntest.In("empty", "0ac3e000-0000-4000-8000-00000000000e")))

		var begun atomic.Int32 // reads that have a first row
		for reason, v := range map[string]*store.View{"after its first row": slow, "before it": nothing} {
			before, began, first := begun.Load(), time.Now(), time.Duration(0)
			err := v.ReadEndlessly(t.Context(), func() { begun.Add(1); first = time.Since(began) })
			if end := time.Since(began); first > end/2 {
				t.Errorf("slow %s: that came after %s of %s, so it was not read before the end", reason, first, end)
			}
			if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrBusy) {
				t.Errorf("slow %s: %v", reason, err)
			}
			if (begun.Load() > before) != (v == slow) {
				t.Errorf("slow %s: %d have begun", reason, begun.Load()-before)
			}
		}

		// More of them than there are places, over and over.
		end := make(chan struct{})
		var flood sync.WaitGroup
		for range 40 {
			flood.Go(func() {
				for {
					select {
					case <-end:
						return
					default:
					}
					if err := slow.ReadEndlessly(t.Context(), func() { begun.Add(1) }); !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("in the flood: %v", err)
						return
					}
				}
			})
		}
		for first := begun.Load(); begun.Load() < first+2; { // they are at it
			time.Sleep(time.Millisecond)
		}
		for since := begun.Load(); begun.Load() < since+8; { // until more have come than the pool has connections for
			if got := read(t, other, theirs.ID); got.ID != theirs.ID {
				t.Errorf("another organization reads %+v", got)
			}
		}
		close(end)
		flood.Wait()
		// Whoever was told that it took too long has its connection given back beside that.
		until(t, func() bool { return store.Readers(db).Stats().InUse == 0 })
		if got := read(t, slow, mine.ID); got.ID != mine.ID {
			t.Errorf("afterwards it reads %+v", got)
		}
		// Without being told it would sleep for far longer than this waits.
		until(t, func() bool { return len(asleep(t, db, url)) == 0 })
	})
}

// asleep is what a server of PostgreSQL still runs of endless statements. SQLite has no server.
func asleep(t *testing.T, db *store.DB, url string) (all []string) {
	t.Helper()
	if url[:6] == "sqlite" {
		return nil
	}
	found, err := store.Handle(db).QueryContext(t.Context(), `SELECT query FROM pg_stat_activity
WHERE state = 'active' AND datname = current_database() AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var query string
		if err := found.Scan(&query); err != nil {
			t.Fatal(err)
		}
		all = append(all, query)
	}
	slices.Sort(all)
	return all
}
