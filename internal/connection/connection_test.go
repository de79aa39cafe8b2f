// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

func TestSealedAndOpened(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		p := start(t, url, vault.Fixed(keyset(t)), newRotating())
		v := p.db.View(admitted(t))
		a := p.connect(t, v, first())
		got, err := p.open(t, a.ID).Get(t.Context())
		if err != nil || !cmp.Equal(map[string]string(got), map[string]string(first())) {
			t.Errorf("got other secrets than were sealed, %v", err)
		}
		stored, err := p.db.Work().Connection(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stored.Secrets {
			for name, text := range first() { // whole: two bytes of it stand in what is random now and then
				if bytes.Contains(s.Sealed, []byte(text)) {
					t.Errorf("%s is stored in clear text as %s", name, s.Name)
				}
			}
		}
	})
}

// TestTamperedSecrets: whatever is moved or changed in the database opens nothing, and the account says that it has to
// be connected again.
func TestTamperedSecrets(t *testing.T) {
	for name, tamper := range map[string]func(of, other []store.SealedSecret) []store.SealedSecret{
		"of another account": func(_, other []store.SealedSecret) []store.SealedSecret { return other },
		"of another name": func(of, _ []store.SealedSecret) []store.SealedSecret {
			of[0].Sealed, of[1].Sealed = of[1].Sealed, of[0].Sealed
			return of
		},
		"a bit": func(of, _ []store.SealedSecret) []store.SealedSecret {
			of[0].Sealed[len(of[0].Sealed)-1] ^= 1
			return of
		},
		"the key's id": func(of, _ []store.SealedSecret) []store.SealedSecret { of[0].Sealed[2] ^= 1; return of },
		"cut":          func(of, _ []store.SealedSecret) []store.SealedSecret { of[0].Sealed = of[0].Sealed[:9]; return of },
		"empty":        func(of, _ []store.SealedSecret) []store.SealedSecret { of[0].Sealed = []byte{}; return of },
		"none":         func(_, _ []store.SealedSecret) []store.SealedSecret { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), newRotating())
			v := p.db.View(admitted(t))
			a, other := p.connect(t, v, first()), p.connect(t, v, first())
			secretsOf := func(id string) []store.SealedSecret {
				c, err := p.db.Work().Connection(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				return c.Secrets
			}
			changed := tamper(secretsOf(a.ID), secretsOf(other.ID))
			if err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.PutSecrets(a.ID, changed) }); err != nil {
				t.Fatal(err)
			}
			_, failure, err := p.Open(t.Context(), a.ID)
			if err != nil || failure == nil || failure.Code != platform.CodeAuthFailed || failure.Rule != connection.RuleReconnect {
				t.Errorf("opened: %v, %v", failure, err)
			}
			shown, err := v.Account(t.Context(), a.ID)
			if state, why := connection.StateOf(shown, now); state != connection.ReconnectRequired || why == nil || err != nil {
				t.Errorf("state %s, %v, %v", state, why, err)
			}
			if !strings.Contains(p.log.String(), a.ID) || strings.Contains(p.log.String(), "access-0") {
				t.Errorf("log: %s", p.log)
			}
			p.open(t, other.ID)
		})
	}
}

// TestWithoutAKeyset: nothing is worse for it than that it has to wait.
func TestWithoutAKeyset(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	p := start(t, url, vault.Fixed(keyset(t)), newRotating())
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first(), refreshAt(now))
	none, err := vault.New(vault.Options{
		Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	without := start(t, url, none, newRotating())
	if without.Usable() || !p.Usable() {
		t.Error("usable without a keyset, or not with one")
	}
	if _, failure, err := without.Open(t.Context(), a.ID); failure == nil || err != nil || failure.Code != platform.CodeUnavailable {
		t.Errorf("%v, %v", failure, err)
	}
	other := start(t, url, vault.Fixed(keyset(t)), newRotating()) // of another cluster
	if _, failure, err := other.Open(t.Context(), a.ID); failure == nil || err != nil || failure.Code != platform.CodeUnavailable {
		t.Errorf("%v, %v", failure, err)
	}
	if shown, err := view.Account(t.Context(), a.ID); err != nil || shown.Reconnect != nil {
		t.Errorf("the account pays for it: %+v, %v", shown, err)
	}
	p.open(t, a.ID)
}

func TestStateOf(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		reason string
		a      store.Account
		want   connection.State
	}{
		{"it has no end", store.Account{}, connection.Active},
		{"its end is far", store.Account{TokenExpiresAt: now.Add(14*day + time.Second)}, connection.Active},
		{"its end is near", store.Account{TokenExpiresAt: now.Add(14*day - time.Second)}, connection.Expiring},
		{"its end is a second away", store.Account{TokenExpiresAt: now.Add(time.Second)}, connection.Expiring},
		{"it has ended", store.Account{TokenExpiresAt: now}, connection.ReconnectRequired},
		{"it was refused", store.Account{Reconnect: &platform.Failure{}}, connection.ReconnectRequired},
		{"it is gone", store.Account{TokenExpiresAt: now, DisconnectedAt: now}, connection.Disconnected},
		{"it was refused, and will end", store.Account{
			Reconnect: &platform.Failure{}, TokenExpiresAt: now.Add(day),
		}, connection.ReconnectRequired},
	} {
		got, why := connection.StateOf(tc.a, now)
		if got != tc.want || (why != nil) != (got == connection.ReconnectRequired) {
			t.Errorf("%s: %s, %v, want %s", tc.reason, got, why, tc.want)
		}
	}
}

// TestIn: the accounts that are found by a state are those that are shown in it, of each state and of several.
func TestIn(t *testing.T) {
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), newRotating())
	view := p.db.View(admitted(t))
	const day = 24 * time.Hour
	for _, ends := range []time.Duration{-day, 0, time.Microsecond, day, 14*day - time.Microsecond, 14 * day, 15 * day} {
		p.connect(t, view, first(), func(a *store.Account) { a.TokenExpiresAt = now.Add(ends) })
	}
	p.connect(t, view, first(), func(a *store.Account) { a.TokenExpiresAt = time.Time{} })
	all, _, err := view.Accounts(t.Context(), store.Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, states := range [][]connection.State{
		{},
		{connection.Active},
		{connection.Expiring},
		{connection.ReconnectRequired},
		{connection.ReconnectRequired, connection.Active},
		connection.States,
	} {
		var want []store.Account
		for _, a := range all {
			if state, _ := connection.StateOf(a, now); slices.Contains(states, state) {
				want = append(want, a)
			}
		}
		got, _, err := view.AccountsBy(t.Context(), connection.In(states, now), store.Page{Limit: 100})
		if diff := cmp.Diff(want, got); diff != "" || err != nil || len(states) > 0 && len(want) == 0 {
			t.Errorf("%v: %v (-want +got):\n%s", states, err, diff)
		}
	}
}

// TestCounted: each state has a number, also 0.
func TestCounted(t *testing.T) {
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), newRotating())
	view := p.db.View(admitted(t))
	p.connect(t, view, first())
	p.connect(t, view, first())
	p.connect(t, view, first(), func(a *store.Account) { a.TokenExpiresAt = now.Add(time.Hour) })
	gone := p.connect(t, view, first())
	if err := view.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(gone.ID) }); err != nil {
		t.Fatal(err)
	}
	p.run(t)
	want := `
# HELP lmp_accounts Accounts by platform and state, when last counted; those that were disconnected, as long as they are remembered. Each replica counts all of them.
# TYPE lmp_accounts gauge
lmp_accounts{platform="bluesky",state="active"} 2
lmp_accounts{platform="bluesky",state="disconnected"} 1
lmp_accounts{platform="bluesky",state="expiring"} 1
lmp_accounts{platform="bluesky",state="reconnect_required"} 0
`
	await(t, func() bool {
		return testutil.GatherAndCompare(p.registry, strings.NewReader(want), "lmp_accounts") == nil
	})
}

// leaving is a platform that is told of accounts that were disconnected.
type leaving struct {
	*rotating
	told chan string
}

func (l leaving) Revoke(_ context.Context, of platform.Account, with platform.Secrets) error {
	l.told <- of.ID + " " + with[platform.SecretRefreshToken]
	return errors.New("away")
}

// TestGoodbye: the platform is told of an account that was disconnected, when nothing of it is left here, and also if
// the process is told to end meanwhile.
func TestGoodbye(t *testing.T) {
	to := leaving{newRotating(), make(chan string, 1)}
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), to)
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first())
	done := p.Disconnecting(t.Context(), a.ID)
	if err := view.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) }); err != nil {
		t.Fatal(err)
	}
	done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Run(ctx)
	if told := <-to.told; told != a.ID+" refresh-0" {
		t.Errorf("told of %q", told)
	}
	if !strings.Contains(p.log.String(), "could not be told") || strings.Contains(p.log.String(), "refresh-0") {
		t.Errorf("log: %s", p.log)
	}
	p.Disconnecting(t.Context(), newID())() // of one that is gone, nothing
}
