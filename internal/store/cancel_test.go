// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// unsettled adds a post that is queued, and that its platform may have.
func unsettled(t *testing.T, v *store.View, p store.Post) store.Post {
	t.Helper()
	publishing(&p)
	again := store.Outcome{Attempt: add(t, v, p)[0], Failure: &failure, Again: now.Add(time.Minute), Unsettled: true}
	write(t, v, func(tx *store.Tx) error { return tx.Finish([]store.Outcome{again}) })
	return p
}

// TestCanceledIsNotOut: by whatever way queued posts are canceled, one that its platform may have is not called so.
func TestCanceledIsNotOut(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		for name, cancel := range map[string]func(a store.Account, keyID string, ids ...string) error{
			"a caller": func(_ store.Account, _ string, ids ...string) error {
				return v.Write(t.Context(), func(tx *store.Tx) error {
					for _, id := range ids {
						p, err := tx.CancelPost(id)
						if err != nil {
							return err
						}
						if got := p.Failure != nil; got != (p.Status == store.Failed) {
							t.Errorf("returned %+v", p)
						}
					}
					return nil
				})
			},
			"the end of a key": func(_ store.Account, keyID string, _ ...string) error {
				_, err := db.Work().CancelQueuedBy(t.Context(), keyID)
				return err
			},
			"the end of an account": func(a store.Account, _ string, _ ...string) error {
				return v.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
			},
		} {
			a, keyID := put(t, v, account("")), newID()
			waiting := post(a, madeWith(keyID))
			add(t, v, waiting)
			maybe := unsettled(t, v, post(a, madeWith(keyID)))
			for id, want := range map[string]bool{waiting.ID: false, maybe.ID: true, newID(): false, "": false} {
				if got, err := v.Unsettled(t.Context(), id); got != want || err != nil {
					t.Errorf("%s: unsettled %v, %v", name, got, err)
				}
			}
			if err := cancel(a, keyID, waiting.ID, maybe.ID); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := read(t, v, waiting.ID); got.Status != store.Canceled || got.Failure != nil {
				t.Errorf("%s: what was not sent is %s, %+v", name, got.Status, got.Failure)
			}
			got := read(t, v, maybe.ID)
			if got.Status != store.Failed || got.Failure == nil || got.Failure.Rule != store.RuleOutcomeUnknown {
				t.Errorf("%s: what may be out is %s, %+v", name, got.Status, got.Failure)
			}
			found, _, err := v.Posts(t.Context(), store.PostFilter{ErrorCodes: []string{got.Failure.Code}}, store.Page{Limit: 10})
			if err != nil || len(found) == 0 || found[0].ID != maybe.ID {
				t.Errorf("%s: by its code, %+v are found, %v", name, found, err)
			}
		}
	})
}

// TestLook: an attempt that looks is one like others, of a post that its platform may have, and of no other.
func TestLook(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a := put(t, v, account(""))
		waiting := post(a)
		add(t, v, waiting)
		maybe := unsettled(t, v, post(a))
		for _, id := range []string{waiting.ID, newID(), ""} {
			if _, _, _, err := w.StartLook(t.Context(), id); !errors.Is(err, store.ErrState) && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a look for another post: %v", err)
			}
		}
		clk.Step(time.Minute)
		p, try, last, err := w.StartLook(t.Context(), maybe.ID)
		if err != nil || p.ID != maybe.ID || !last.Equal(now) || try.Number != 2 || !try.Ask || !try.FirstSentAt.Equal(now) {
			t.Fatalf("started %+v of %+v after %s, %v", try, p, last, err)
		}
		if _, _, _, err := w.StartLook(t.Context(), maybe.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("a second look: %v", err)
		}
		cancel := func(tx *store.Tx) error { _, err := tx.CancelPost(maybe.ID); return err }
		if err := v.Write(t.Context(), cancel); !errors.Is(err, store.ErrState) {
			t.Errorf("canceled while it is looked for: %v", err)
		}
		done := store.Outcome{Attempt: try.Attempt, Failure: &failure, Again: now.Add(time.Hour)}
		if err := w.Finish(t.Context(), []store.Outcome{done}); err != nil {
			t.Fatal(err)
		}
		write(t, v, cancel)
		if got := read(t, v, maybe.ID); got.Status != store.Canceled {
			t.Errorf("what is not there is %s", got.Status)
		}
		if attempts, err := v.Attempts(t.Context(), maybe.ID); err != nil || len(attempts) != 2 {
			t.Errorf("attempts %+v, %v", attempts, err)
		}
	})
}
