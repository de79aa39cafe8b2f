// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

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
		for _, attemptID := range []string{attempt.ID, newID()} { // of another one, nothing is remembered
			if err := dying.Work().Remember(t.Context(), lost.ID, attemptID, []byte(attemptID)); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		judge := func(l store.Lost) store.Outcome {
			if string(l.Token) != attempt.ID {
				t.Errorf("remembered is %q, want %q", l.Token, attempt.ID)
			}
			return failed(l)
		}
		if n, err := w.SettleLost(t.Context(), judge); n != 1 || err != nil {
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
