// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

var many = store.SessionBounds{Person: 3, All: 5}

func signedIn(person string, usedAt time.Time) store.SignedIn {
	return store.SignedIn{
		ID: newID(), Person: person, KeyID: 7, Sealed: []byte("sealed"), Version: 1,
		UsedAt: usedAt, ExpiresAt: now.Add(12 * time.Hour),
	}
}

func addSession(t *testing.T, db *store.DB, s store.SignedIn) store.SignedIn {
	t.Helper()
	if err := db.Work().AddSession(t.Context(), s, many); err != nil {
		t.Fatal(err)
	}
	return s
}

func hasSession(t *testing.T, db *store.DB, s store.SignedIn) bool {
	t.Helper()
	_, err := db.Work().Session(t.Context(), s.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// TestSession: what is stored of a session is read again, is used and chosen for, and ends for everybody at once.
func TestSession(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w := db.Work()
		s := addSession(t, db, signedIn("person:ann", now))
		s.Organization = caller.Organization{ID: "610be000", Name: "acme"}
		if done, err := w.ChooseOrganization(t.Context(), s.ID, s.Organization); err != nil || !done {
			t.Fatal(done, err)
		}
		// An older use is none; a later one may have it sealed under another key.
		stale, used := s, s
		stale.Sealed = []byte("stale")
		if err := w.UseSession(t.Context(), stale, now.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		used.KeyID, used.Sealed, used.UsedAt = 8, []byte("sealed again"), now.Add(time.Minute)
		if err := w.UseSession(t.Context(), used, used.UsedAt); err != nil {
			t.Fatal(err)
		}
		got, err := w.Session(t.Context(), s.ID)
		if diff := cmp.Diff(used, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if by, err := w.SealedBy(t.Context()); err != nil || by[8] != 1 || by[7] != 0 {
			t.Errorf("sealed by %v, %v: the vault's key is needed", by, err)
		}
		if err := w.EndSession(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		if hasSession(t, db, s) {
			t.Error("it is there after its end")
		}
		if done, err := w.ChooseOrganization(t.Context(), s.ID, s.Organization); err != nil || done {
			t.Errorf("chosen after its end: %v, %v", done, err)
		}
		for _, id := range badIDs {
			if _, err := w.Session(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%.20q: %v", id, err)
			}
			if err := w.EndSession(t.Context(), id); err != nil {
				t.Errorf("%.20q: %v", id, err)
			}
		}
	})
}

// TestSessionOfTheOtherEnvironment: even in one database, a session is nothing to the other environment's processes.
func TestSessionOfTheOtherEnvironment(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url) // of no environment, so that both may be let in
		s := addSession(t, db, signedIn("person:ann", now))
		other, _ := open(t, url, clk, func(o *store.Options) { o.Environment = key.Test })
		if hasSession(t, other, s) {
			t.Error("it is found")
		}
		w := other.Work()
		if done, err := w.ChooseOrganization(t.Context(), s.ID, caller.Organization{}); err != nil || done {
			t.Errorf("chosen for: %v, %v", done, err)
		}
		if done, err := w.BeginSessionRenewal(t.Context(), s.ID, 1, time.Minute); err != nil || done {
			t.Errorf("renewed: %v, %v", done, err)
		}
		if err := w.EndSession(t.Context(), s.ID); err != nil || !hasSession(t, db, s) {
			t.Errorf("ended: %v", err)
		}
	})
}

// TestSessionBounds: whoever has too many loses the one unused for longest, and nobody else's.
func TestSessionBounds(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		bob := addSession(t, db, signedIn("person:bob", now))
		var anns []store.SignedIn
		for i := range 4 {
			anns = append(anns, addSession(t, db, signedIn("person:ann", now.Add(time.Duration(i+1)*time.Second))))
		}
		for i, want := range []bool{false, true, true, true} {
			if got := hasSession(t, db, anns[i]); got != want {
				t.Errorf("the session %d of one person is there: %v", i, got)
			}
		}
		if !hasSession(t, db, bob) {
			t.Error("somebody else's is gone")
		}
		for i := range 2 {
			addSession(t, db, signedIn(fmt.Sprint("person:", i), now.Add(time.Minute)))
		}
		if hasSession(t, db, bob) || !hasSession(t, db, anns[1]) {
			t.Error("of all, not the one unused for longest is gone")
		}

		// What is over goes by itself: unused for too long, or at its end.
		clk.Step(store.SessionIdle + 2*time.Second)
		late := signedIn("person:ann", clk.Now())
		late.ExpiresAt = clk.Now()
		addSession(t, db, late)
		if _, err := db.Work().Purge(t.Context(), clk.Now(), 100); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			reason string
			s      store.SignedIn
			want   bool
		}{
			{"it has expired", late, false},
			{"it was not used for as long as may be", anns[1], false},
			{"it was used a second later", anns[2], true},
		} {
			if got := hasSession(t, db, c.s); got != c.want {
				t.Errorf("%s: there is %v", c.reason, got)
			}
		}
	})
}

// TestOneSessionRenewalAtATime: of many who want to renew one credential at the same moment, one does.
func TestOneSessionRenewalAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w, s := db.Work(), addSession(t, db, signedIn("person:ann", now))
		var began atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				done, err := w.BeginSessionRenewal(t.Context(), s.ID, s.Version, time.Hour)
				if err != nil {
					t.Error(err)
				}
				if done {
					began.Add(1)
				}
			})
		}
		all.Wait()
		if began.Load() != 1 {
			t.Errorf("%d have begun", began.Load())
		}
		s.Sealed = []byte("renewed")
		for _, want := range []bool{true, false} { // the second one has an old version
			if done, err := w.EndSessionRenewal(t.Context(), s); err != nil || done != want {
				t.Errorf("ended: %v, %v, want %v", done, err, want)
			}
		}
		got, err := w.Session(t.Context(), s.ID)
		if err != nil || got.Version != 2 || string(got.Sealed) != "renewed" {
			t.Errorf("%+v, %v", got, err)
		}
		// Whoever has read the old version neither puts it back nor renews it again.
		if err := w.UseSession(t.Context(), signedInAgain(s, "old"), now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, err = w.Session(t.Context(), s.ID); err != nil || string(got.Sealed) != "renewed" {
			t.Errorf("%+v, %v", got, err)
		}
		if done, err := w.BeginSessionRenewal(t.Context(), s.ID, s.Version, time.Hour); err != nil || done {
			t.Errorf("begun with an old version: %v, %v", done, err)
		}
		// One that has got nothing leaves the next one to others, after a pause; by then an old version is nobody's.
		for _, c := range []struct {
			version int64
			pause   time.Duration
			begun   bool
		}{{2, time.Hour, true}, {2, -time.Second, false}, {1, -time.Second, true}, {2, 0, false}} {
			if done, err := w.BeginSessionRenewal(t.Context(), s.ID, 2, time.Hour); err != nil || done != c.begun {
				t.Errorf("%+v: begun: %v, %v", c, done, err)
			}
			if err := w.PostponeSessionRenewal(t.Context(), s.ID, c.version, c.pause); err != nil {
				t.Error(err)
			}
		}
	})
}

func signedInAgain(s store.SignedIn, sealed string) store.SignedIn {
	s.Sealed = []byte(sealed)
	return s
}

// TestOneTakesASession: of many who take one at the same moment, one does, and nobody after that.
func TestOneTakesASession(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		w, s := db.Work(), addSession(t, db, signedIn("person:ann", now))
		var taken atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				done, err := w.TakeSession(t.Context(), s.ID)
				if err != nil {
					t.Error(err)
				}
				if done {
					taken.Add(1)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 || hasSession(t, db, s) {
			t.Errorf("%d have taken it; it is there after that: %v", taken.Load(), hasSession(t, db, s))
		}
		for _, id := range badIDs {
			if done, err := w.TakeSession(t.Context(), id); done || err != nil {
				t.Errorf("%.20q: %v, %v", id, done, err)
			}
		}
	})
}
