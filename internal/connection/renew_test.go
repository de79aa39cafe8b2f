// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// TestOneRefreshEach: two replicas that want to refresh an account at the same moment do it once, a hundred times.
func TestOneRefreshEach(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		const accounts = 100
		to, v := newRotating(), vault.Fixed(keyset(t))
		a, b := start(t, url, v, to), start(t, url, v, to)
		view := a.db.View(admitted(t))
		ids := make([]string, accounts)
		for i := range ids {
			ids[i] = a.connect(t, view, first(), refreshAt(now)).ID
		}
		var all sync.WaitGroup
		for _, id := range ids {
			for _, p := range []*process{a, b} {
				all.Go(func() {
					got, err := p.open(t, id).Get(t.Context())
					if err != nil || got[platform.SecretAccessToken] != "access-1" {
						t.Errorf("%s: %q, %v", id, got[platform.SecretAccessToken], err)
					}
				})
			}
		}
		all.Wait()
		for _, id := range ids {
			if to.refreshes[id] != 1 {
				t.Errorf("%d refreshes of %s", to.refreshes[id], id)
			}
		}
		if n := to.replays.Load(); n > 0 {
			t.Errorf("%d tokens were used twice", n)
		}
	})
}

// TestRenew: what the platform does not take any more is renewed once, whoever finds out; who comes late gets theirs.
func TestRenew(t *testing.T) {
	to, v := newRotating(), vault.Fixed(keyset(t))
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	a, b := start(t, url, v, to), start(t, url, v, to)
	id := a.connect(t, a.db.View(admitted(t)), first()).ID
	one, two := a.open(t, id), b.open(t, id)
	for _, c := range []platform.Credentials{one, two} {
		stale, err := c.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Renew(t.Context(), stale)
		if err != nil || got[platform.SecretAccessToken] != "access-1" {
			t.Errorf("%q, %v", got[platform.SecretAccessToken], err)
		}
	}
	if to.refreshes[id] != 1 || to.replays.Load() != 0 {
		t.Errorf("%d refreshes, %d replays", to.refreshes[id], to.replays.Load())
	}
}

// TestDueAccountsAreRefreshed: by whatever process looks first, also if the one that was at it has died.
func TestDueAccountsAreRefreshed(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		to, v := newRotating(), vault.Fixed(keyset(t))
		p := start(t, url, v, to)
		view := p.db.View(admitted(t))
		due, later := p.connect(t, view, first(), refreshAt(now)), p.connect(t, view, first(), refreshAt(now.Add(time.Minute)))
		left := p.connect(t, view, first(), refreshAt(now))
		// A process has begun, and died. Its time is over at once, so that the test need not wait for it.
		c, err := p.db.Work().Connection(t.Context(), left.ID)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.db.Work().BeginRenewal(t.Context(), left.ID, c.Version, 0); !ok || err != nil {
			t.Fatal(ok, err)
		}
		p.run(t)
		version := func(id string) int64 {
			c, err := p.db.Work().Connection(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return c.Version
		}
		await(t, func() bool { return version(due.ID) == 1 && version(left.ID) == 1 })
		if version(later.ID) != 0 {
			t.Error("one was refreshed before its time")
		}
		p.clock.SetTime(now.Add(time.Minute))
		await(t, func() bool { return version(later.ID) == 1 })
		if n := to.replays.Load(); n > 0 {
			t.Errorf("%d tokens were used twice", n)
		}
	})
}

func TestRefreshesThatFail(t *testing.T) {
	to, v := newRotating(), vault.Fixed(keyset(t))
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), v, to)
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first(), refreshAt(now))
	connectionOf := func() store.Connection {
		c, err := p.db.Work().Connection(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// It passes: the old secrets are given, and the refresh is put off, longer each time.
	to.fail.Store(&platform.Failure{Code: platform.CodeUnavailable, Message: "away"})
	last := time.Duration(0)
	for i := range 8 {
		if got, err := p.open(t, a.ID).Get(t.Context()); err != nil || got[platform.SecretAccessToken] != "access-0" {
			t.Fatalf("%v", err)
		}
		c := connectionOf()
		pause := c.RefreshAt.Sub(p.clock.Now())
		if c.Tries != i+1 || pause < last || pause <= 0 || pause > 15*time.Minute {
			t.Errorf("after %d failures: %d tries, next in %s (before: %s)", i+1, c.Tries, pause, last)
		}
		last = pause
		p.clock.SetTime(c.RefreshAt)
	}
	// It does not: a person is asked.
	to.fail.Store(&platform.Failure{Code: platform.CodeAuthFailed, Message: "revoked", Rule: "x"})
	if _, err := p.open(t, a.ID).Get(t.Context()); !isFailure(err, platform.CodeAuthFailed) {
		t.Errorf("%v", err)
	}
	if c := connectionOf(); c.Reconnect == nil || c.Reconnect.Message != "revoked" || !c.RefreshAt.IsZero() {
		t.Errorf("%+v", c)
	}
	if _, failure, err := p.Open(t.Context(), a.ID); failure == nil || err != nil || failure.Rule != connection.RuleReconnect {
		t.Errorf("%v, %v", failure, err)
	}
	// Connected again, it is as new.
	to.fail.Store(nil)
	p.connect(t, view, first(), func(again *store.Account) { again.PlatformAccountID = a.PlatformAccountID })
	if got, err := p.open(t, a.ID).Get(t.Context()); err != nil || got[platform.SecretAccessToken] != "access-0" {
		t.Errorf("%v", err)
	}
	if n := testutil.CollectAndCount(p.registry, "lmp_account_refreshes_total"); n != 3 {
		t.Errorf("%d outcomes are there, want refreshed, platform_unavailable and platform_auth_failed", n)
	}
}

// TestConnectedAgainDuringARefresh: what the person has just given counts, and not what the refresh brings.
func TestConnectedAgainDuringARefresh(t *testing.T) {
	to := newRotating()
	to.entered, to.goOn = make(chan struct{}, 1), make(chan struct{})
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), to)
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first(), refreshAt(now))
	got := make(chan string, 1)
	go func() {
		secrets, err := p.open(t, a.ID).Get(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- secrets[platform.SecretAccessToken]
	}()
	<-to.entered
	p.connect(t, view, platform.Secrets{platform.SecretAccessToken: "given"}, func(again *store.Account) {
		again.PlatformAccountID = a.PlatformAccountID
	})
	close(to.goOn)
	if secret := <-got; secret != "given" {
		t.Errorf("%q is used, want what was given", secret)
	}
}

// TestPlatformThatIsNotEnabled: accounts of before are not asked for again and again.
func TestPlatformThatIsNotEnabled(t *testing.T) {
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), nil)
	a := p.connect(t, p.db.View(admitted(t)), first(), refreshAt(now))
	p.run(t)
	await(t, func() bool {
		c, err := p.db.Work().Connection(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c.RefreshAt.After(now) && c.Tries == 1 && c.Reconnect == nil
	})
}
