// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// connected puts an account with secrets.
func connected(t *testing.T, v *store.View, a store.Account, secrets ...store.SealedSecret) store.Account {
	t.Helper()
	write(t, v, func(tx *store.Tx) (err error) {
		if a, _, err = tx.PutAccount(a); err != nil {
			return err
		}
		return tx.PutSecrets(a.ID, secrets)
	})
	return a
}

func sealed(name, text string) store.SealedSecret {
	return store.SealedSecret{Name: name, KeyID: 4_000_000_000, Sealed: []byte(text)}
}

func connectionOf(t *testing.T, db *store.DB, id string) store.Connection {
	t.Helper()
	c, err := db.Work().Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSecretsOfAConnection(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := account("")
		a.RefreshAt = now.Add(time.Minute)
		a = connected(t, v, a, sealed("b", "\x00two"), sealed("a", "one"))
		organization := ""
		write(t, v, func(tx *store.Tx) error { organization = tx.Organization(); return nil })
		first := connectionOf(t, db, a.ID)
		want := []store.SealedSecret{sealed("a", "one"), sealed("b", "\x00two")}
		if diff := cmp.Diff(want, first.Secrets); diff != "" || first.Organization != organization {
			t.Errorf("of %q (-want +got):\n%s", first.Organization, diff)
		}
		if diff := cmp.Diff(a, first.Account); diff != "" {
			t.Errorf("(-put +read):\n%s", diff)
		}
		// To connect again replaces all of it, and is a version of its own.
		a = connected(t, v, a, sealed("c", "three"))
		second := connectionOf(t, db, a.ID)
		if diff := cmp.Diff([]store.SealedSecret{sealed("c", "three")}, second.Secrets); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if second.Version == first.Version {
			t.Errorf("both are of version %d", first.Version)
		}
		if none := connectionOf(t, db, put(t, v, account("profile-1")).ID); none.Secrets != nil {
			t.Errorf("secrets of an account without any: %+v", none.Secrets)
		}
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
		if _, err := db.Work().Connection(t.Context(), a.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after it was disconnected: %v", err)
		}
		write(t, v, func(tx *store.Tx) error {
			left := -1
			err := tx.SQL().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM account_secrets").Scan(&left)
			if left != 0 {
				t.Errorf("%d secrets are left", left)
			}
			return err
		})
	})
}

// TestOneRenewalAtATime: of a hundred who want to refresh one account at the same moment, one does.
func TestOneRenewalAtATime(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a := account("")
		a.RefreshAt = now
		a = connected(t, v, a, sealed("a", "old"))
		version := connectionOf(t, db, a.ID).Version
		if due, err := w.DueRenewals(t.Context(), clk.Now(), 10); err != nil || len(due) != 1 || due[0] != a.ID {
			t.Fatalf("due: %v, %v", due, err)
		}
		var began atomic.Int32
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				ok, err := w.BeginRenewal(t.Context(), a.ID, version, time.Hour)
				if err != nil && !errors.Is(err, store.ErrUnavailable) {
					t.Error(err)
				}
				if ok {
					began.Add(1)
				}
			})
		}
		all.Wait()
		if began.Load() != 1 {
			t.Errorf("%d have begun", began.Load())
		}
		if due, err := w.DueRenewals(t.Context(), clk.Now(), 10); err != nil || len(due) != 0 {
			t.Errorf("due while somebody is at it: %v, %v", due, err)
		}
		next := now.Add(time.Hour)
		ok, err := w.EndRenewal(t.Context(), a.ID, version, []store.SealedSecret{sealed("a", "new")}, next, time.Time{})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		c := connectionOf(t, db, a.ID)
		if string(c.Secrets[0].Sealed) != "new" || !c.RefreshAt.Equal(next) {
			t.Errorf("%+v", c)
		}
		// Whoever comes late with what an older version has led to changes nothing.
		for what, late := range map[string]func() (bool, error){
			"begins": func() (bool, error) { return w.BeginRenewal(t.Context(), a.ID, version, time.Hour) },
			"ends":   func() (bool, error) { return w.EndRenewal(t.Context(), a.ID, version, nil, next, time.Time{}) },
			"gives up": func() (bool, error) {
				return w.RequireReconnect(t.Context(), a.ID, version, platform.Failure{Code: "x"})
			},
		} {
			if ok, err := late(); ok || err != nil {
				t.Errorf("%s with an old version: %t, %v", what, ok, err)
			}
		}
	})
}

// TestRenewalsTakeTurns: however many accounts of an organization are due, and for however long, those of another one
// are refreshed after one of them each.
func TestRenewalsTakeTurns(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		connect := func(v *store.View, since time.Duration) string {
			a := account("")
			a.RefreshAt = now.Add(-since)
			return connected(t, v, a, sealed("a", "old")).ID
		}
		many := viewOf(t, db)
		few := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		var theirs []string
		for i := range 10 {
			theirs = append(theirs, connect(many, time.Duration(60-i)*time.Minute))
		}
		first, second := connect(few, 2*time.Minute), connect(few, time.Minute)
		due, err := db.Work().DueRenewals(t.Context(), now, 5)
		if want := []string{theirs[0], first, theirs[1], second, theirs[2]}; err != nil || !slices.Equal(due, want) {
			t.Errorf("due are %v, %v, want %v", due, err, want)
		}
	})
}

func TestReconnecting(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, w := viewOf(t, db), db.Work()
		a := account("")
		a.RefreshAt, a.TokenExpiresAt = now, now.Add(time.Hour)
		a = connected(t, v, a, sealed("a", "old"))
		waiting := post(a)
		add(t, v, waiting)
		version := connectionOf(t, db, a.ID).Version
		if err := w.PostponeRenewal(t.Context(), a.ID, version, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if c := connectionOf(t, db, a.ID); c.Tries != 1 || !c.RefreshAt.Equal(now.Add(time.Minute)) {
			t.Errorf("%d tries, next at %s", c.Tries, c.RefreshAt)
		}
		why := platform.Failure{Code: platform.CodeAuthFailed, Message: "revoked", PlatformResponse: []byte("<html>")}
		for i, want := range []bool{true, false} {
			if ok, err := w.RequireReconnect(t.Context(), a.ID, version, why); err != nil || ok != want {
				t.Errorf("said %d times: %t, %v", i+1, ok, err)
			}
		}
		got, err := v.Account(t.Context(), a.ID)
		if err != nil || got.Reconnect == nil || got.Reconnect.Message != why.Message || !got.RefreshAt.IsZero() {
			t.Errorf("%+v, %v", got, err)
		}
		clk.Step(time.Hour)
		counts, err := w.CountConnections(t.Context(), clk.Now(), clk.Now().Add(time.Hour))
		want := []store.ConnectionCount{{Platform: a.Platform, Standing: store.Ended, Accounts: 1}}
		if diff := cmp.Diff(want, counts); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		// Connected again, it is the same account, and what was queued for it still is.
		fresh := account("")
		fresh.PlatformAccountID, fresh.Platform = a.PlatformAccountID, a.Platform
		if again := connected(t, v, fresh, sealed("a", "new")); again.ID != a.ID || again.Reconnect != nil {
			t.Errorf("%+v", again)
		}
		if p := read(t, v, waiting.ID); p.Status != store.Queued || p.AccountID != a.ID {
			t.Errorf("%+v", p)
		}
		if !strings.Contains(string(connectionOf(t, db, a.ID).Secrets[0].Sealed), "new") {
			t.Error("the old secret is still there")
		}
	})
}
