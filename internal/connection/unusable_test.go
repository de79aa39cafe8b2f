// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"path/filepath"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// unusable are ways in which what opens an account never does again.
var unusable = map[string]func([]store.SealedSecret) []store.SealedSecret{
	"changed": func(of []store.SealedSecret) []store.SealedSecret {
		of[0].Sealed[len(of[0].Sealed)-1] ^= 1
		return of
	},
	"gone": func([]store.SealedSecret) []store.SealedSecret { return nil },
}

func (p *process) stored(t *testing.T, id string) store.Connection {
	t.Helper()
	c, err := p.db.Work().Connection(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// spoil makes what opens an account unusable.
func (p *process) spoil(
	t *testing.T, v *store.View, id string, how func([]store.SealedSecret) []store.SealedSecret,
) {
	t.Helper()
	changed := how(p.stored(t, id).Secrets)
	if err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.PutSecrets(id, changed) }); err != nil {
		t.Fatal(err)
	}
}

// isGivenUp tells whether an account waits for its person alone, for what its secrets have become.
func isGivenUp(c store.Connection) bool {
	return c.Reconnect != nil && c.Reconnect.Rule == connection.RuleReconnect && c.RefreshAt.IsZero() &&
		c.Reconnect.Message == "What this server has kept to open the account is not usable."
}

// TestDueAccountsThatNeverOpen: they are not tried on. Their person is asked at once, also if nobody publishes.
func TestDueAccountsThatNeverOpen(t *testing.T) {
	for name, how := range unusable {
		t.Run(name, func(t *testing.T) {
			to := newRotating()
			p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), to)
			view := p.db.View(admitted(t))
			id := p.connect(t, view, first(), refreshAt(now)).ID
			p.spoil(t, view, id, how)
			p.run(t)
			await(t, func() bool { c := p.stored(t, id); return c.Tries > 0 || c.Reconnect != nil })
			if c := p.stored(t, id); !isGivenUp(c) {
				t.Errorf("after %d tries, next at %s: %+v", c.Tries, c.RefreshAt, c.Reconnect)
			}
			if to.refreshes[id] != 0 {
				t.Error("the platform was asked")
			}
		})
	}
}

// TestDueAccountsOfAMissingKey: it may come back, so they are tried on.
func TestDueAccountsOfAMissingKey(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	p := start(t, url, vault.Fixed(keyset(t)), newRotating())
	id := p.connect(t, p.db.View(admitted(t)), first(), refreshAt(now)).ID
	without := start(t, url, vault.Fixed(keyset(t)), newRotating())
	without.run(t)
	await(t, func() bool { c := p.stored(t, id); return c.Tries > 0 || c.Reconnect != nil })
	if c := p.stored(t, id); c.Tries != 1 || c.Reconnect != nil || !c.RefreshAt.After(now) {
		t.Errorf("after %d tries, next at %s: %+v", c.Tries, c.RefreshAt, c.Reconnect)
	}
}

// TestRenewedToWhatNeverOpens: a publication that is under way finds what Open would have found.
func TestRenewedToWhatNeverOpens(t *testing.T) {
	for name, how := range unusable {
		for again, connect := range map[string]bool{"as it was": false, "connected again": true} {
			t.Run(name+", "+again, func(t *testing.T) {
				to := newRotating()
				p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), to)
				view := p.db.View(admitted(t))
				a := p.connect(t, view, first())
				with := p.open(t, a.ID)
				stale, err := with.Get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if connect {
					p.connect(t, view, first(), func(again *store.Account) { again.PlatformAccountID = a.PlatformAccountID })
				}
				p.spoil(t, view, a.ID, how)
				if _, err := with.Renew(t.Context(), stale); !isFailure(err, platform.CodeAuthFailed) {
					t.Errorf("error %v", err)
				}
				if c := p.stored(t, a.ID); !isGivenUp(c) {
					t.Errorf("after %d tries: %+v", c.Tries, c.Reconnect)
				}
			})
		}
	}
}
