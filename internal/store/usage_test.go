// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"database/sql"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestUsage walks what is stored through all that may become of it, and sees after each step that what is counted is
// what there is.
func TestUsage(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		m := addMedium(t, v, medium(""))
		want := store.Amounts{store.Accounts: 1, store.MediaFiles: 1, store.Bytes: m.SizeBytes}
		check := func(step string, change store.Amounts) {
			t.Helper()
			for r, n := range change {
				want[r] += n
			}
			got := usageOf(t, db)
			maps.DeleteFunc(got, func(_ store.Resource, n int64) bool { return n == 0 })
			maps.DeleteFunc(want, func(_ store.Resource, n int64) bool { return n == 0 })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", step, diff)
			}
			if n, err := db.Work().Recount(t.Context()); n != 0 || err != nil {
				t.Fatalf("%s: %d organizations were counted wrongly, %v", step, n, err)
			}
		}
		check("an account and a file", nil)
		write(t, v, func(tx *store.Tx) error { _, _, err := tx.PutAccount(a); return err })
		check("connected again", nil)

		queued, other := post(a, saying("é")), post(a, saying("12345"))
		attempts := add(t, v, queued, other, post(a, publishing, saying("now"), with(store.MediaRef{Kind: "image", MediaID: m.ID})))
		mediaBytes := int64(len(`[{"kind":"image","mediaId":""}]`) + len(m.ID))
		check("two queued and one at once", store.Amounts{store.Posts: 3, store.QueuedPosts: 2, store.Bytes: 2 + 5 + 3 + mediaBytes})
		finish := func(a store.Attempt) {
			t.Helper()
			if err := db.Work().Finish(t.Context(), []store.Outcome{{Attempt: a, Failure: &failure}}); err != nil {
				t.Fatal(err)
			}
		}
		finish(attempts[0])
		check("failed", nil)
		write(t, v, func(tx *store.Tx) error {
			_, err := tx.EditPost(queued.ID, store.Edit{Text: new("longer")})
			return err
		})
		check("edited", store.Amounts{store.Bytes: 4})
		write(t, v, func(tx *store.Tx) error { _, err := tx.CancelPost(other.ID); return err })
		check("canceled", store.Amounts{store.QueuedPosts: -1})
		clk.Step(2 * time.Hour)
		for round := range 3 {
			_, attempt, err := db.Work().Start(t.Context(), queued.ID)
			if err != nil {
				t.Fatal(err)
			}
			change := store.Amounts{store.QueuedPosts: -1, store.Posts: 1}
			if round == 0 {
				change[store.Posts] = 0 // the first attempt counts with the post
			}
			check("begun", change)
			finish(attempt.Attempt)
			write(t, v, func(tx *store.Tx) error { _, err := tx.RequeuePost(queued.ID, "key-2", time.Time{}); return err })
			check("queued again", store.Amounts{store.QueuedPosts: 1})
		}
		if _, err := db.Work().CancelQueuedBy(t.Context(), "key-2"); err != nil {
			t.Fatal(err)
		}
		check("canceled with its key", store.Amounts{store.QueuedPosts: -1})
		write(t, v, func(tx *store.Tx) error { _, err := tx.RequeuePost(queued.ID, "key-2", time.Time{}); return err })
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
		check("its account deleted", store.Amounts{store.Accounts: -1})
		write(t, v, func(tx *store.Tx) error { _, err := tx.DeleteMedia(m.ID); return err })
		check("the file deleted", store.Amounts{store.MediaFiles: -1, store.Bytes: -m.SizeBytes})
	})
}

// TestRecount breaks what is counted behind the triggers' back.
func TestRecount(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		add(t, v, post(put(t, v, account("")), saying("text")))
		right := usageOf(t, db)
		if _, err := store.Handle(db).ExecContext(t.Context(),
			`UPDATE usage SET posts = posts + 7, queued_posts = -2, bytes = 0`); err != nil {
			t.Fatal(err)
		}
		// Two at once, of which one corrects, and not both.
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if _, err := db.Work().Recount(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if diff := cmp.Diff(right, usageOf(t, db)); diff != "" {
			t.Errorf("after a recount (-want +got):\n%s", diff)
		}
	})
}

// TestUsageOfWhatWasThere migrates a database that has rows from before anything was counted.
func TestUsageOfWhatWasThere(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		add(t, v, post(a), post(a, publishing))
		addMedium(t, v, medium(""))
		want := usageOf(t, db)
		store.CountAgain(t, db)
		if diff := cmp.Diff(want, usageOf(t, db)); diff != "" {
			t.Errorf("after the migration (-want +got):\n%s", diff)
		}
	})
}

// usageOf is the only organization's usage, as it stands in the database.
func usageOf(t *testing.T, db *store.DB) store.Amounts {
	t.Helper()
	var numbers [5]int64
	err := store.Handle(db).QueryRowContext(t.Context(), `SELECT posts, queued_posts, media_files, bytes, accounts FROM usage`).
		Scan(&numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4])
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	usage := store.Amounts{}
	for i, r := range store.Resources {
		usage[r] = numbers[i]
	}
	return usage
}
