// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// A process may live and not know what it has begun: the database had done it when the connection broke, and the
// process was told that it had failed. Half an hour later, that counts as abandoned.
func TestForgottenIsAbandoned(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		forgotten := post(a, publishing)
		add(t, v, forgotten)
		r := store.Request{IdempotencyKey: "k", Method: "POST", Path: "/v1/posts", BodyHash: "h"}
		c, _, err := v.Claim(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		write(t, v, func(tx *store.Tx) error { return tx.Begin(c, forgotten.BatchID) })

		age := func(minutes string) {
			t.Helper()
			for _, table := range []string{"attempts", "claims"} {
				if _, err := store.Handle(db).ExecContext(t.Context(), "UPDATE "+table+" SET begun_at = begun_at - "+minutes+" * 60000000"); err != nil {
					t.Fatal(err)
				}
			}
		}
		age("20")
		if n, err := db.Work().SettleLost(t.Context(), failed); n != 0 || err != nil {
			t.Errorf("after 20 minutes: failed %d, %v", n, err)
		}
		if _, _, err := v.Claim(t.Context(), r); !errors.Is(err, store.ErrInProgress) {
			t.Errorf("after 20 minutes: claimed with %v", err)
		}
		age("11")
		if n, err := db.Work().SettleLost(t.Context(), failed); n != 1 || err != nil {
			t.Errorf("after 31 minutes: failed %d, %v, want 1", n, err)
		}
		if got := read(t, v, forgotten.ID); got.Status != store.Failed {
			t.Errorf("the post: %+v", got)
		}
		again, stored, err := v.Claim(t.Context(), r)
		if err != nil || stored != nil || again.BatchID != forgotten.BatchID {
			t.Errorf("after 31 minutes: claim %+v, answer %+v, %v", again, stored, err)
		}
		if err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.Settle(c, store.Stored{Status: 200}) }); !errors.Is(err, store.ErrClaimLost) {
			t.Errorf("who had it before settles it: %v", err)
		}
	})
}

// A process whose heartbeat is late, because its database has much to do, is not dead to itself: it would end its own
// attempts while they run, and run its own requests again.
func TestNobodyIsDeadToItself(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		slow, _ := open(t, url, clocktesting.NewFakeClock(now), func(o *store.Options) { o.DeadAfter = time.Hour })
		who := admitted(t, key.Live, nil)
		v := slow.View(who)
		running := post(put(t, v, account("")), publishing)
		attempts := add(t, v, running)
		r := store.Request{IdempotencyKey: "k", Method: "POST", Path: "/v1/posts", BodyHash: "h"}
		claim(t, v, r)
		if _, err := store.Handle(slow).ExecContext(t.Context(), "UPDATE processes SET seen_at = 1"); err != nil {
			t.Fatal(err)
		}
		if n, err := slow.Work().SettleLost(t.Context(), failed); n != 0 || err != nil {
			t.Errorf("ended %d attempts of its own, %v", n, err)
		}
		refused(t, v, r, store.ErrInProgress)
		if n, err := slow.Work().Purge(t.Context(), now.Add(48*time.Hour), 10); n != 0 || err != nil {
			t.Errorf("purged %d claims of its own, %v", n, err)
		}
		write(t, v, func(tx *store.Tx) error { return tx.Finish([]store.Outcome{{Attempt: attempts[0]}}) })
		if got := read(t, v, running.ID); got.Status != store.Published {
			t.Errorf("the post: %+v", got)
		}

		// To others it is.
		lost := post(put(t, v, account("")), publishing)
		add(t, v, lost)
		other, _ := opened(t, url)
		if n, err := other.Work().SettleLost(t.Context(), failed); n != 1 || err != nil {
			t.Errorf("another process ended %d of its attempts, %v, want 1", n, err)
		}
		claim(t, other.View(who), r)
	})
}

// TestTakenOverInDoubt: a claim that was taken over from a dead process, and of which the next one was told that it was
// not, is given back to be abandoned. Otherwise its request would be in progress for half an hour.
func TestTakenOverInDoubt(t *testing.T) {
	url, who := postgres.Start(t), admitted(t, key.Live, nil)
	r := store.Request{IdempotencyKey: "k", Method: "POST", Path: "/v1/posts", BodyHash: "h"}
	dead, end := open(t, url, clocktesting.NewFakeClock(now))
	claim(t, dead.View(who), r)
	end()
	through, loses := postgres.Lossy(t, url)
	db, _ := opened(t, through)
	v := db.View(who)
	loses.Store(true)
	c, stored, err := v.Claim(t.Context(), r)
	loses.Store(false)
	if c == nil || stored != nil || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("claim %+v, answer %+v, %v", c, stored, err)
	}
	refused(t, v, r, store.ErrInProgress)
	if err := v.Abandon(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	claim(t, v, r)
}

// What was committed although the process was told otherwise is taken back, and the request can be run.
func TestUndo(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		m := addMedium(t, v, medium(""))
		r := store.Request{IdempotencyKey: "k", Method: "POST", Path: "/v1/posts", BodyHash: "h"}
		c, _, err := v.Claim(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		kept, doubtful, settled := post(a, publishing), post(a, publishing, with(store.MediaRef{Kind: "image", MediaID: m.ID})), post(a, publishing)
		settled.BatchID = doubtful.BatchID
		add(t, v, kept)
		attempts := add(t, v, doubtful, settled)
		write(t, v, func(tx *store.Tx) error { return tx.Begin(c, doubtful.BatchID) })
		write(t, v, func(tx *store.Tx) error { return tx.Finish([]store.Outcome{{Attempt: attempts[1]}}) })
		if err := v.Abandon(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		other := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		write(t, other, func(tx *store.Tx) error { return tx.Undo(doubtful.BatchID) })
		if got := read(t, v, doubtful.ID); got.Status != store.Publishing {
			t.Errorf("undone by another caller: %+v", got)
		}
		for range 2 {
			write(t, v, func(tx *store.Tx) error { return tx.Undo(doubtful.BatchID) })
		}
		if _, err := v.Post(t.Context(), doubtful.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the post: %v", err)
		}
		write(t, v, func(tx *store.Tx) error { _, err := tx.DeleteMedia(m.ID); return err }) // nothing needs it any more
		for id, want := range map[string]store.Status{kept.ID: store.Publishing, settled.ID: store.Published} {
			if got := read(t, v, id); got.Status != want {
				t.Errorf("a post that is none of its business: %s, want %s", got.Status, want)
			}
		}
		again, stored, err := v.Claim(t.Context(), r)
		if err != nil || stored != nil || again.BatchID != "" {
			t.Errorf("the request: claim %+v, answer %+v, %v", again, stored, err)
		}
	})
}
