// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func TestPostsComeBackAsTheyWent(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a, m := put(t, v, account("")), addMedium(t, v, medium(""))
		plain, full := post(a, atOnce), post(a, with(store.MediaRef{Kind: "image", MediaID: m.ID, AltText: "\"Ünï\""}), func(p *store.Post) {
			p.BatchID, p.Text, p.FirstComment = newID(), "née 🚀 'quoted' \\ % _ ?", "first!"
			p.Options = &platform.Options{Platform: bluesky.Name, ReplyToURI: "at://x"}
		})
		full.BatchID = plain.BatchID
		running := post(a, publishing, func(p *store.Post) { p.BatchID = plain.BatchID })
		attempts := add(t, v, plain, running, full)

		want := []store.Post{plain, running, full}
		for i := range want {
			want[i].UpdatedAt = now
			want[i].Account = &store.AccountRef{ID: a.ID, Platform: a.Platform, PlatformAccountID: a.PlatformAccountID, DisplayName: a.DisplayName}
		}
		got, err := v.Batch(t.Context(), plain.BatchID)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("batch, error %v (-want +got):\n%s", err, diff)
		}
		if diff := cmp.Diff(want[2], read(t, v, full.ID)); diff != "" {
			t.Errorf("post (-want +got):\n%s", diff)
		}
		got1, err := v.Attempts(t.Context(), running.ID)
		if diff := cmp.Diff([]store.Attempt{{ID: attempts[0].ID, PostID: running.ID, Number: 1, StartedAt: now}}, got1); diff != "" || err != nil {
			t.Errorf("attempts, error %v (-want +got):\n%s", err, diff)
		}
		if diff := cmp.Diff(attempts, got1); diff != "" {
			t.Errorf("attempts differ from those returned:\n%s", diff)
		}
	})
}

func TestFinish(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		receipt := platform.Receipt{URI: "at://1", CID: "c", Warnings: []platform.Warning{{Code: "w", Message: "m"}}}
		for _, tc := range []struct {
			reason  string
			outcome store.Outcome
			want    store.Status
		}{
			{"published", store.Outcome{Receipt: receipt}, store.Published},
			{"rejected", store.Outcome{Failure: &platform.Failure{Code: platform.CodeRejected, PlatformResponse: json.RawMessage(`{"a":1}`)}}, store.Rejected},
			{"may go better", store.Outcome{Failure: &failure}, store.Failed},
			{"what a platform said need not be JSON", store.Outcome{Failure: &platform.Failure{Code: platform.CodeUnavailable, PlatformResponse: []byte("<html>")}}, store.Failed},
		} {
			for _, side := range []string{"of a caller", "of jobs"} {
				t.Run(tc.reason+" "+side, func(t *testing.T) {
					p := post(a, publishing)
					o := tc.outcome
					o.Attempt = add(t, v, p)[0]
					o.Attempt.FinishedAt = now.Add(time.Second)
					finish := func(o store.Outcome) error {
						if side == "of jobs" {
							return db.Work().Finish(t.Context(), []store.Outcome{o})
						}
						return v.Write(t.Context(), func(tx *store.Tx) error { return tx.Finish([]store.Outcome{o}) })
					}
					if err := finish(o); err != nil {
						t.Fatal(err)
					}
					got := read(t, v, p.ID)
					if got.Status != tc.want || !cmp.Equal(got.Receipt, o.Receipt) || got.UpdatedAt != o.Attempt.FinishedAt ||
						(got.Failure == nil) != (o.Failure == nil) || got.PublishedAt.IsZero() != (o.Failure != nil) {
						t.Errorf("post %+v", got)
					}
					// It comes a second time, with the opposite.
					other := store.Outcome{Attempt: o.Attempt, Failure: &failure}
					if o.Failure != nil {
						other = store.Outcome{Attempt: o.Attempt}
					}
					if err := finish(other); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(got, read(t, v, p.ID)); diff != "" {
						t.Errorf("a second outcome changed it:\n%s", diff)
					}
				})
			}
		}
	})
}

func TestQueuedPosts(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a := put(t, v, account(""))
		p, soon := post(a), post(a, atOnce)
		add(t, v, p, soon)
		if _, _, err := w.Start(t.Context(), p.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("started before its time: %v", err)
		}
		if _, _, err := w.Start(t.Context(), newID()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("started what is not there: %v", err)
		}
		_, attempt, err := w.Start(t.Context(), soon.ID)
		if err != nil || attempt.Number != 1 {
			t.Errorf("at once: %+v, %v", attempt, err)
		}
		text, later := "edited", now.Add(2*time.Hour)
		write(t, v, func(tx *store.Tx) error {
			got, err := tx.EditPost(p.ID, store.Edit{Text: &text, ScheduledAt: &later})
			if got.Text != text || got.ScheduledAt != later {
				t.Errorf("edited: %+v", got)
			}
			return err
		})
		if got := read(t, v, p.ID); got.Text != text || got.ScheduledAt != later {
			t.Errorf("edited: %+v", got)
		}
		clk.SetTime(later)
		if err := v.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.EditPost(p.ID, store.Edit{Text: &text}); return err }); !errors.Is(err, store.ErrState) {
			t.Errorf("edited when it was due: %v", err)
		}
		if ids, err := w.Overdue(t.Context(), later.Add(time.Microsecond), 10); len(ids) > 0 || err != nil {
			t.Errorf("overdue behind one that is on its way: %v, %v", ids, err)
		}
		if err := w.Finish(t.Context(), []store.Outcome{{Attempt: attempt.Attempt, Receipt: platform.Receipt{URI: "at://1"}}}); err != nil {
			t.Fatal(err)
		}
		late, err := w.Overdue(t.Context(), later.Add(time.Microsecond), 10)
		if diff := cmp.Diff([]string{p.ID}, idsOf(late)); diff != "" || err != nil {
			t.Errorf("overdue, %v:\n%s", err, diff)
		}
		if ids, _ := w.Overdue(t.Context(), later, 10); len(ids) > 0 {
			t.Errorf("overdue at its very time: %v", ids)
		}
		cancel := func(tx *store.Tx) error { _, err := tx.CancelPost(p.ID); return err }
		write(t, v, cancel)
		if err := v.Write(t.Context(), cancel); !errors.Is(err, store.ErrState) {
			t.Errorf("cancelled twice: %v", err)
		}
		if _, _, err := w.Start(t.Context(), p.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("started though cancelled: %v", err)
		}
	})
}

func TestRequeueGoesOnWithTheNextAttempt(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a, m := put(t, v, account("")), addMedium(t, v, medium(""))
		p := post(a, publishing, with(store.MediaRef{Kind: "image", MediaID: m.ID}))
		first := add(t, v, p)[0]
		requeue := func() error {
			return v.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.RequeuePost(p.ID, "key-2", time.Time{}); return err })
		}
		if err := requeue(); !errors.Is(err, store.ErrState) {
			t.Errorf("requeued while it runs: %v", err)
		}
		if err := w.Finish(t.Context(), []store.Outcome{{Attempt: first, Failure: &failure}}); err != nil {
			t.Fatal(err)
		}
		if err := requeue(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, v, p.ID); got.Status != store.Queued || got.MadeBy != "key-2" || got.Failure != nil {
			t.Errorf("requeued: %+v", got)
		}
		clk.Step(time.Second)
		got, second, err := w.Start(t.Context(), p.ID)
		if err != nil || second.Number != 2 || got.Status != store.Publishing {
			t.Fatalf("second attempt %+v, %v", second, err)
		}
		// The first comes back, and finds that it does not count any more.
		if err := w.Finish(t.Context(), []store.Outcome{{Attempt: first}}); err != nil || read(t, v, p.ID).Status != store.Publishing {
			t.Errorf("an attempt that is over has settled the next: %v", err)
		}
		if err := w.Finish(t.Context(), []store.Outcome{{Attempt: second.Attempt, Failure: &failure}}); err != nil {
			t.Fatal(err)
		}
		attempts, err := v.Attempts(t.Context(), p.ID)
		if err != nil || len(attempts) != 2 || attempts[1].Failure == nil || attempts[1].FinishedAt.IsZero() {
			t.Errorf("attempts %+v, %v", attempts, err)
		}
		write(t, v, func(tx *store.Tx) error { _, err := tx.DeleteMedia(m.ID); return err })
		if err := requeue(); !errors.Is(err, store.ErrState) {
			t.Errorf("requeued without its medium: %v", err)
		}
	})
}

func TestCancelQueuedByKey(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		leaked, running, other := post(a, madeWith("leaked")), post(a, madeWith("leaked"), publishing), post(a)
		add(t, v, leaked, running, other)
		if n, err := db.Work().CancelQueuedBy(t.Context(), "leaked"); n != 1 || err != nil {
			t.Errorf("cancelled %d, %v", n, err)
		}
		if pending, err := db.Work().HasPending(t.Context(), "leaked"); !pending || err != nil {
			t.Errorf("one is on its way, and pending is %v, %v", pending, err)
		}
		if pending, err := db.Work().HasPending(t.Context(), "leake"); pending || err != nil {
			t.Errorf("of another key pending is %v, %v", pending, err)
		}
		got := []store.Status{read(t, v, leaked.ID).Status, read(t, v, running.ID).Status, read(t, v, other.ID).Status}
		if want := []store.Status{store.Canceled, store.Publishing, store.Queued}; !slices.Equal(got, want) {
			t.Errorf("statuses %v, want %v", got, want)
		}
	})
}
