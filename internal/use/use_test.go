// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package use_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// now is in the middle of an hour, and of ten minutes.
var now = time.Date(2026, time.March, 1, 12, 25, 0, 0, time.UTC)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func onBoth(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db")) })
	t.Run("postgresql", func(t *testing.T) { test(t, postgres.Start(t)) })
}

// TestAcrossReplicas: what one replica has seen, the other one shows; and the one that comes after both.
func TestAcrossReplicas(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		clk := clocktesting.NewFakePassiveClock(now)
		k, plaintext := minted(t)
		idle, _ := minted(t)
		objects, id := []any{k, idle}, string(k.UID)
		a, b := newReplica(t, url, "a", clk, objects), newReplica(t, url, "b", clk, objects)
		c := a.request(t, plaintext, 3)
		if got := a.lastUsed(t, c); !got[id].Equal(now) || len(got) != 1 {
			t.Errorf("before it is written, its own replica has %v", got)
		}
		if got := b.lastUsed(t, c); len(got) != 0 {
			t.Errorf("before it is written, the other replica has %v", got)
		}
		a.write(t)
		if got := b.lastUsed(t, c, id, string(idle.UID)); !got[id].Equal(now) || len(got) != 1 {
			t.Errorf("once it is written, the other replica has %v", got)
		}

		// Within a minute it is not written again; the replica that has seen it knows all the same.
		clk.SetTime(now.Add(55 * time.Second))
		a.request(t, plaintext, 2)
		b.request(t, plaintext, 10)
		a.write(t)
		b.write(t)
		for r, want := range map[*replica]int64{a: 15, b: 13} {
			if got := r.of(t, c, id).LastHour.Requests; got != want {
				t.Errorf("%d requests in the last hour, want %d", got, want)
			}
		}
		clk.SetTime(now.Add(time.Minute))
		a.write(t)
		for _, r := range []*replica{a, b} {
			if got := r.of(t, c, id).LastHour.Requests; got != 15 {
				t.Errorf("a minute later: %d requests in the last hour, want 15", got)
			}
		}
		if got := a.metric(t, "lmp_key_use_writes_total"); got != 2 {
			t.Errorf("%v transactions, want 2: one a minute", got)
		}

		// A process that has seen nothing knows all of it.
		clk.SetTime(now.Add(2 * time.Hour))
		later := newReplica(t, url, "later", clk, objects)
		s := later.of(t, c, id)
		if got := s.Hours[21]; got.Requests != 15 || !got.Begins.Equal(now.Truncate(time.Hour)) {
			t.Errorf("the hour: %+v", got)
		}
		if got := s.Days[29]; got.Requests != 15 || !got.Begins.Equal(now.Truncate(24*time.Hour)) {
			t.Errorf("the day: %+v", got)
		}
		if len(s.Hours) != 24 || len(s.Days) != 30 || s.LastHour.Requests != 0 || !s.LastUsedAt.Equal(now) {
			t.Errorf("%d hours, %d days, %+v", len(s.Hours), len(s.Days), s.LastHour)
		}
		if got := later.of(t, c, string(idle.UID)); !got.LastUsedAt.IsZero() || got.Replicas != nil {
			t.Errorf("a key that was never used: %+v", got)
		}
	})
}

// TestReplicasFallSilent: when each of them has seen a key last, for whoever takes it out of use.
func TestReplicasFallSilent(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		clk := clocktesting.NewFakePassiveClock(now)
		k, plaintext := minted(t)
		a, b := newReplica(t, url, "a", clk, []any{k}), newReplica(t, url, "b", clk, []any{k})
		c := a.request(t, plaintext, 1)
		a.write(t)
		clk.SetTime(now.Add(20 * time.Minute))
		b.request(t, plaintext, 1)
		b.write(t)
		want := []use.Replica{{"b", now.Add(20 * time.Minute)}, {"a", now}}
		for _, r := range []*replica{a, b} {
			if diff := cmp.Diff(want, r.of(t, c, string(k.UID)).Replicas); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		clk.SetTime(now.Add(3 * time.Hour))
		if err := a.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := a.of(t, c, string(k.UID)); s.Replicas != nil || s.Hours[20].Requests != 2 {
			t.Errorf("hours later: %+v", s)
		}
	})
}

func TestRefusedApart(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(now)
	k, plaintext := minted(t)
	a := newReplica(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), "a", clk, []any{k})
	f := new(authn.Flight)
	if err := a.authenticator.Admit(t.Context(), now, []string{"Bearer " + plaintext}, f); err != nil {
		t.Fatal(err)
	}
	c := f.Caller()
	f.CountRefused()
	_ = f.End()
	a.request(t, plaintext, 2)
	want := use.Count{Requests: 3, Refused: 1}
	for range 2 { // before and after it is written
		recent, err := a.Recent(t.Context(), c)
		if diff := cmp.Diff(map[string]use.Count{string(k.UID): want}, recent); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if s := a.of(t, c, string(k.UID)); s.LastHour != want || s.Hours[23].Count != want || s.Days[29].Count != want {
			t.Errorf("%+v", s)
		}
		a.write(t)
	}
	clk.SetTime(now.Add(65 * time.Minute))
	if recent, err := a.Recent(t.Context(), c); len(recent) != 0 || err != nil {
		t.Errorf("an hour later: %v, %v", recent, err)
	}
}

// TestConfined: a key that is confined to a profile learns nothing of other keys' use.
func TestConfined(t *testing.T) {
	profile := authntest.Profile()
	clk := clocktesting.NewFakePassiveClock(now)
	confined, plaintext := minted(t, authntest.PinnedTo(profile))
	other, others := minted(t)
	a := newReplica(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), "a", clk, []any{profile, confined, other})
	c := a.request(t, plaintext, 1)
	a.request(t, others, 1)
	a.write(t)
	for _, ids := range [][]string{nil, {string(other.UID)}, {string(other.UID), string(confined.UID)}} {
		if got := a.lastUsed(t, c, ids...); !got[string(other.UID)].IsZero() {
			t.Errorf("asked for %v, it learns %v", ids, got)
		}
	}
	recent, err := a.Recent(t.Context(), c)
	if len(recent) != 1 || err != nil {
		t.Errorf("it learns %v, %v", recent, err)
	}
	if s := a.of(t, c, string(other.UID)); !s.LastUsedAt.IsZero() || s.LastHour.Requests > 0 {
		t.Errorf("it learns %+v", s)
	}
}

// TestDatabaseAway: nothing is lost, and what this replica knows is known.
func TestDatabaseAway(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	clk := clocktesting.NewFakePassiveClock(now)
	k, plaintext := minted(t)
	away, err := store.Open(store.Options{
		URL: url, Clock: clock.RealClock{}, NewID: newID, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = away.Close() })
	a := newReplica(t, "sqlite:"+filepath.Join(t.TempDir(), "other.db"), "a", clk, []any{k}, func(o *use.Options) { o.Store = away })
	c := a.request(t, plaintext, 5)
	for range 3 {
		if err := a.Write(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("written to a database that is away: %v", err)
		}
		a.request(t, plaintext, 1)
	}
	last, err := a.LastUsed(t.Context(), c)
	if !errors.Is(err, store.ErrUnavailable) || !last[string(k.UID)].Equal(now) {
		t.Errorf("%v, %v; want what this replica knows, and an error", last, err)
	}
	if got := a.metric(t, "lmp_key_use_waiting"); got != 0 {
		t.Errorf("%v keys wait, want none: they are where they are counted", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); away.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-away.Migrated()
	a.write(t)
	if got := a.of(t, c, string(k.UID)).LastHour.Requests; got != 8 {
		t.Errorf("%d requests once it is back, want 8", got)
	}
}

// TestLastWord: a process that ends has written all that it has counted.
func TestLastWord(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		clk := clocktesting.NewFakePassiveClock(now)
		k, plaintext := minted(t)
		a := newReplica(t, url, "a", clk, []any{k})
		c := a.request(t, plaintext, 1)
		a.write(t)
		a.request(t, plaintext, 2) // not due for a minute
		a.write(t)
		a.request(t, plaintext, 3)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		a.Run(over)
		if got := newReplica(t, url, "b", clk, []any{k}).of(t, c, string(k.UID)).LastHour.Requests; got != 6 {
			t.Errorf("%d requests are known afterwards, want 6", got)
		}
	})
}

// TestManyKeys: so many are written at a time, and the others later.
func TestManyKeys(t *testing.T) {
	const atOnce = 5
	const keys = atOnce*use.Batches + 10
	clk := clocktesting.NewFakePassiveClock(now)
	a := newReplica(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), "a", clk, nil)
	a.WriteAtOnce(atOnce)
	var c *caller.Caller
	for range keys {
		k, plaintext := minted(t)
		a.index.PutKey(k)
		c = a.request(t, plaintext, 1)
	}
	a.write(t)
	if n, waiting := a.metric(t, "lmp_key_use_writes_total"), a.metric(t, "lmp_key_use_waiting"); n != use.Batches || waiting != 10 {
		t.Errorf("%v transactions, %v keys wait", n, waiting)
	}
	a.write(t)
	stored, err := a.db.View(c).LastUses(t.Context())
	if len(stored) != keys || err != nil || a.metric(t, "lmp_key_use_waiting") != 0 {
		t.Errorf("%d keys are written, want %d; %v", len(stored), keys, err)
	}
}

// TestGoneKeys: what is known of a key goes with it, and of no other.
func TestGoneKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		clk := clocktesting.NewFakePassiveClock(now)
		kept, keptText := minted(t)
		gone, goneText := minted(t)
		elsewhere, elsewhereText := minted(t, authntest.In("globex", "610be000-0000-4000-8000-000000000000"))
		a := newReplica(t, url, "a", clk, []any{kept, gone, elsewhere})
		c := a.request(t, keptText, 1)
		others := a.request(t, elsewhereText, 1)
		a.request(t, goneText, 1)
		a.write(t)
		clk.SetTime(now.Add(30 * time.Minute))
		// A process that knows less: of this organization one key, of the other one nothing.
		complete := false
		partial := newReplica(t, url, "b", clk, []any{kept}, func(o *use.Options) { o.Partial = true })
		whole := newReplica(t, url, "c", clk, []any{kept}, func(o *use.Options) { o.Complete = func() bool { return complete } })
		left := func(what string, by *replica, own, theirs int) {
			t.Helper()
			if err := by.Forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			for c, want := range map[*caller.Caller]int{c: own, others: theirs} {
				stored, err := a.db.View(c).LastUses(t.Context())
				if len(stored) != want || err != nil {
					t.Errorf("%s: %s has %v left, want %d; %v", what, c.Organization.Name, stored, want, err)
				}
			}
		}
		left("used within the hour", whole, 2, 1)
		clk.SetTime(now.Add(2 * time.Hour))
		left("by a process that does not know all keys yet", whole, 2, 1)
		left("by one of some namespaces", partial, 1, 1)
		complete = true
		left("by one that knows all keys", whole, 1, 0)
		if p, err := a.db.View(c).PeriodsOfUse(t.Context(), string(gone.UID)); len(p) != 0 || err != nil {
			t.Errorf("of the key that is gone: %v, %v", p, err)
		}
		if p, err := a.db.View(c).PeriodsOfUse(t.Context(), string(kept.UID)); len(p) != 1 || err != nil {
			t.Errorf("of the other one: %v, %v", p, err)
		}
	})
}
