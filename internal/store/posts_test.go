// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
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
		if _, attempt, err := w.Start(t.Context(), soon.ID); err != nil || attempt.Number != 1 {
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
		ids, err := w.Overdue(t.Context(), later.Add(time.Microsecond), 10)
		if diff := cmp.Diff([]string{p.ID}, ids); diff != "" || err != nil {
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
		got := []store.Status{read(t, v, leaked.ID).Status, read(t, v, running.ID).Status, read(t, v, other.ID).Status}
		if want := []store.Status{store.Canceled, store.Publishing, store.Queued}; !slices.Equal(got, want) {
			t.Errorf("statuses %v, want %v", got, want)
		}
	})
}

func TestAttemptsOfDeadProcessesFail(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		dying, stop := open(t, url, clocktesting.NewFakeClock(now))
		v := viewOf(t, db)
		a := put(t, v, account(""))
		lost, ours := post(a, publishing), post(a, publishing)
		attempt := add(t, viewOf(t, dying), lost)[0]
		add(t, v, ours)
		w := db.Work()
		if n, err := w.SettleLost(t.Context(), failed); n != 0 || err != nil {
			t.Fatalf("failed %d attempts of the living, %v", n, err)
		}
		stop()
		if n, err := w.SettleLost(t.Context(), failed); n != 1 || err != nil {
			t.Fatalf("failed %d, %v, want 1", n, err)
		}
		if got := read(t, v, lost.ID); got.Status != store.Failed || got.Failure == nil || got.Failure.Message != failure.Message {
			t.Errorf("lost post: %+v", got)
		}
		if got := read(t, v, ours.ID); got.Status != store.Publishing {
			t.Errorf("our post: %+v", got)
		}
		// It was only paused.
		if err := dying.Work().Finish(t.Context(), []store.Outcome{{Attempt: attempt}}); err != nil {
			t.Fatal(err)
		}
		if got := read(t, v, lost.ID); got.Status != store.Failed {
			t.Errorf("an outcome that came too late changed it: %+v", got)
		}
	})
}

// TestPostsOfAnAccountKeepTheirOrder: whatever job comes first, the post that is due first goes first, one at a time.
func TestPostsOfAnAccountKeepTheirOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a, other := put(t, v, account("")), put(t, v, account(""))
		due := func(after time.Duration) func(*store.Post) {
			return func(p *store.Post) { p.ScheduledAt = now.Add(after) }
		}
		third, second, first := post(a, due(3*time.Second)), post(a, due(2*time.Second)), post(a, due(time.Second))
		elsewhere := post(other, due(2*time.Second))
		add(t, v, third, second, first, elsewhere)
		start := func(job, want store.Post) store.Try {
			t.Helper()
			p, try, err := w.Start(t.Context(), job.ID)
			if err != nil || p.ID != want.ID || try.PostID != want.ID {
				t.Fatalf("started %+v, %v; want %s", p, err, want.ID)
			}
			return try
		}
		busy := func(job store.Post, until time.Time) {
			t.Helper()
			var notYet *store.NotYet
			if _, _, err := w.Start(t.Context(), job.ID); !errors.As(err, &notYet) || !notYet.Until.Equal(until) {
				t.Fatalf("%v, want to wait until %s", err, until)
			}
		}
		finish := func(o store.Outcome) {
			t.Helper()
			if err := w.Finish(t.Context(), []store.Outcome{o}); err != nil {
				t.Fatal(err)
			}
		}
		clk.Step(2 * time.Second)
		if _, _, err := w.Start(t.Context(), third.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("a post that is not due: %v", err)
		}
		try := start(second, first)
		busy(first, time.Time{})
		busy(second, time.Time{})
		start(elsewhere, elsewhere) // another account waits for nobody
		if !try.FirstSentAt.Equal(clk.Now()) || !try.DueAt.Equal(first.ScheduledAt) || !try.Queued || try.Ask {
			t.Errorf("%+v", try)
		}

		// The platform wants it later: it keeps its place.
		sent, until := clk.Now(), clk.Now().Add(time.Hour)
		finish(store.Outcome{Attempt: try.Attempt, Failure: &failure, Again: until})
		if p := read(t, v, first.ID); p.Status != store.Queued || p.Failure != nil {
			t.Errorf("a post that was moved: %+v", p)
		}
		busy(second, until)
		clk.SetTime(until)
		if try = start(first, first); !try.FirstSentAt.Equal(until) {
			t.Errorf("first sent at %s, want %s: the platform has not taken it before", try.FirstSentAt, until)
		}

		// Nobody knows what became of it: it is asked about, and the time of the first attempt stays.
		finish(store.Outcome{Attempt: try.Attempt, Failure: &failure, Again: until, Unsettled: true, Token: []byte{0, 1}})
		clk.Step(time.Hour)
		try = start(third, first)
		if !try.Ask || string(try.Token) != "\x00\x01" || !try.FirstSentAt.Equal(until) || sent.Equal(until) {
			t.Errorf("%+v", try)
		}
		finish(store.Outcome{Attempt: try.Attempt})
		// The jobs of those that are over are the reminders of those that are not.
		finish(store.Outcome{Attempt: start(first, second).Attempt})
		finish(store.Outcome{Attempt: start(second, third).Attempt})
		if _, _, err := w.Start(t.Context(), third.ID); !errors.Is(err, store.ErrState) {
			t.Errorf("nothing is left: %v", err)
		}
	})
}

// TestReady: of each account, the post that Start would begin now, the oldest first; of no other organization.
func TestReady(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		who := admitted(t, key.Live, nil)
		v, w := db.View(who), db.Work()
		foreign := db.View(admitted(t, key.Live, nil, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f")))
		on := func(a store.Account, after time.Duration) store.Post {
			return post(a, func(p *store.Post) { p.ScheduledAt = now.Add(after) })
		}
		busy, idle, waiting, late := put(t, v, account("")), put(t, v, account("")), put(t, v, account("")), put(t, v, account(""))
		under := on(busy, time.Second)
		older, newer := on(idle, 2*time.Second), on(idle, 3*time.Second)
		held := on(waiting, time.Second)
		oldest := on(late, time.Second)
		add(t, v, under, on(busy, 2*time.Second), newer, older, held, on(waiting, 2*time.Second), oldest)
		add(t, v, on(put(t, v, account("")), time.Hour))
		add(t, foreign, on(put(t, foreign, account("")), time.Second))
		ready := func() []string {
			t.Helper()
			ids, err := w.Ready(t.Context(), who.Organization.ID, key.Live)
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		if ids := ready(); len(ids) > 0 {
			t.Errorf("nothing is due: %v", ids)
		}
		clk.Step(5 * time.Second)
		if _, _, err := w.Start(t.Context(), under.ID); err != nil {
			t.Fatal(err)
		}
		_, try, err := w.Start(t.Context(), held.ID)
		if err == nil {
			err = w.Finish(t.Context(), []store.Outcome{{Attempt: try.Attempt, Failure: &failure, Again: clk.Now().Add(time.Minute)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{oldest.ID, older.ID}, ready()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, id := range ready() {
			if p, _, err := w.Start(t.Context(), id); err != nil || p.ID != id {
				t.Errorf("it was to be ready: %v", err)
			}
		}
		if ids := ready(); len(ids) > 0 {
			t.Errorf("all are busy: %v", ids)
		}
	})
}

// TestOneOfAnAccountAtATime: many jobs at once never have two of its posts on their way.
func TestOneOfAnAccountAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a := put(t, v, account(""))
		posts := make([]store.Post, 20)
		for i := range posts {
			posts[i] = post(a, func(p *store.Post) { p.ScheduledAt = now.Add(time.Duration(i) * time.Millisecond) })
		}
		add(t, v, posts...)
		clk.Step(time.Hour)
		var mu sync.Mutex
		var order []string
		var running atomic.Int32
		var all sync.WaitGroup
		for i := range posts {
			all.Go(func() {
				for {
					p, try, err := w.Start(t.Context(), posts[len(posts)-1-i].ID)
					if errors.As(err, new(*store.NotYet)) || errors.Is(err, store.ErrUnavailable) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if n := running.Add(1); n > 1 {
						t.Errorf("%d at a time", n)
					}
					mu.Lock()
					order = append(order, p.ID)
					mu.Unlock()
					running.Add(-1)
					if err := w.Finish(t.Context(), []store.Outcome{{Attempt: try.Attempt}}); err != nil {
						t.Error(err)
					}
					return
				}
			})
		}
		all.Wait()
		want := make([]string, len(posts))
		for i, p := range posts {
			want[i] = p.ID
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
