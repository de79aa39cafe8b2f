// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// rows is a database that a test lets fail, or that somebody changes behind the Resealer's back.
type rows struct {
	*store.Work
	replace func(row store.SealedRow) error // before each row; nil: nothing
	keys    []store.VaultKeys
}

func (r *rows) VaultKeys(context.Context) ([]store.VaultKeys, error) { return r.keys, nil }

func (r *rows) Reseal(ctx context.Context, row store.SealedRow, key uint32, sealed []byte) (bool, error) {
	if r.replace != nil {
		if err := r.replace(row); err != nil {
			return false, err
		}
	}
	return r.Work.Reseal(ctx, row, key, sealed)
}

func newResealer(t *testing.T, r *rows, k *vault.Keyset) *connection.Resealer {
	t.Helper()
	resealer, err := connection.NewResealer(connection.ResealOptions{
		Rows: r, Vault: vault.Fixed(k), Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return resealer
}

// promoted returns a keyset, and the same with a new key as the primary one.
func promoted(t *testing.T) (old, current *vault.Keyset) {
	t.Helper()
	old, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	added, id, err := old.Add()
	if err != nil {
		t.Fatal(err)
	}
	if current, err = added.Promote(id); err != nil {
		t.Fatal(err)
	}
	return old, current
}

// seal puts n secrets of one account, and returns what reads them by name.
func seal(
	t *testing.T, p *process, k *vault.Keyset, n int,
) (account string, read func(*vault.Keyset) map[string]string) {
	t.Helper()
	v := p.db.View(admitted(t))
	account = newID()
	err := v.Write(t.Context(), func(tx *store.Tx) error {
		a, _, err := tx.PutAccount(store.Account{ID: account, Platform: "bluesky", PlatformAccountID: account})
		if err != nil {
			return err
		}
		var secrets []store.SealedSecret
		for i := range n {
			of := vault.Of{Organization: tx.Organization(), Account: a.ID, Name: fmt.Sprint("name", i)}
			sealed, err := vault.Fixed(k).Seal([]byte(fmt.Sprint("secret", i)), of)
			if err != nil {
				return err
			}
			secrets = append(secrets, store.SealedSecret{Name: of.Name, KeyID: k.Primary(), Sealed: sealed})
		}
		return tx.PutSecrets(a.ID, secrets)
	})
	if err != nil {
		t.Fatal(err)
	}
	return account, func(k *vault.Keyset) map[string]string {
		t.Helper()
		c, err := p.db.Work().Connection(t.Context(), account)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{}
		for _, s := range c.Secrets {
			text, err := vault.Fixed(k).Open(s.Sealed, vault.Of{Organization: c.Organization, Account: account, Name: s.Name})
			if err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
			if id, _ := vault.KeyID(s.Sealed); id != s.KeyID {
				t.Errorf("%s: the row says key %d, and is sealed under %d", s.Name, s.KeyID, id)
			}
			texts[s.Name] = string(text)
		}
		return texts
	}
}

// TestResealKilledAtEachRow: whoever dies leaves rows that open, and whoever comes next finishes.
func TestResealKilledAtEachRow(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		p := start(t, url, vault.Fixed(keyset(t)), newRotating())
		const n = 7
		for survives := range n + 1 {
			old, current := promoted(t)
			_, read := seal(t, p, old, n)
			want := read(old)
			killed, left := errors.New("killed"), survives
			r := &rows{Work: p.db.Work(), replace: func(store.SealedRow) error {
				if left--; left < 0 {
					return killed
				}
				return nil
			}}
			done, err := newResealer(t, r, current).Once(t.Context())
			if survives < n && !errors.Is(err, killed) || survives == n && err != nil || done.Resealed != survives {
				t.Errorf("after %d rows: %+v, %v", survives, done, err)
			}
			if diff := cmp.Diff(want, read(current)); diff != "" {
				t.Errorf("after %d rows (-before +now):\n%s", survives, diff)
			}
			r.replace = nil
			if done, err = newResealer(t, r, current).Once(t.Context()); err != nil || done.Resealed != n-survives || done.Waiting > 0 {
				t.Errorf("finished: %+v, %v; want %d", done, err, n-survives)
			}
			retired, err := current.Retire(old.Primary())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, read(retired)); diff != "" {
				t.Errorf("without the old key (-before +now):\n%s", diff)
			}
			clearSecrets(t, p)
		}
	})
}

// exec does something to the database behind everybody's back.
func (p *process) exec(t *testing.T, statement string) error {
	t.Helper()
	return p.db.View(admitted(t)).Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.SQL().ExecContext(t.Context(), statement)
		return err
	})
}

func clearSecrets(t *testing.T, p *process) {
	t.Helper()
	if err := p.exec(t, "DELETE FROM account_secrets"); err != nil {
		t.Fatal(err)
	}
}

func TestReseal(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		p := start(t, url, vault.Fixed(keyset(t)), newRotating())
		old, current := promoted(t)
		for _, tc := range []struct {
			reason string
			keys   []store.VaultKeys
			secret func() *vault.Keyset
			before func(t *testing.T, account string) error // before the row is replaced
			want   connection.Resealing
			under  *vault.Keyset // what the row is sealed under at the end
		}{
			{reason: "as it should be", want: connection.Resealing{Resealed: 1}, under: current},
			{
				reason: "a process does not know the key yet",
				keys:   []store.VaultKeys{{Process: "a", Keys: current.Keys()}, {Process: "b", Keys: old.Keys()}},
				want:   connection.Resealing{Waiting: 1, Behind: []string{"b"}}, under: old,
			},
			{
				reason: "a process without a keyset, or of a release before", keys: []store.VaultKeys{{Process: "a"}},
				want: connection.Resealing{Waiting: 1, Behind: []string{"a"}}, under: old,
			},
			{
				reason: "somebody has renewed it meanwhile: theirs stays",
				before: func(t *testing.T, account string) error {
					return p.exec(t, "UPDATE account_secrets SET sealed = '' WHERE account_id = '"+account+"'")
				},
				want: connection.Resealing{Waiting: 1}, under: old,
			},
			{
				reason: "the account is gone meanwhile",
				before: func(t *testing.T, account string) error {
					return p.exec(t, "DELETE FROM account_secrets")
				},
				want: connection.Resealing{Waiting: 1},
			},
			{
				reason: "no key opens it: it stays, and keeps nobody else",
				secret: func() *vault.Keyset { lost, _ := promoted(t); return lost },
				want:   connection.Resealing{Closed: 1},
			},
		} {
			under := old
			if tc.secret != nil {
				under = tc.secret()
			}
			account, _ := seal(t, p, under, 1)
			r := &rows{Work: p.db.Work(), keys: tc.keys}
			if tc.before != nil {
				r.replace = func(row store.SealedRow) error { return tc.before(t, row.AccountID) }
			}
			done, err := newResealer(t, r, current).Once(t.Context())
			if diff := cmp.Diff(tc.want, done); err != nil || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
			}
			c, err := p.db.Work().Connection(t.Context(), account)
			if err != nil {
				t.Fatal(err)
			}
			if tc.under != nil && (len(c.Secrets) != 1 || c.Secrets[0].KeyID != tc.under.Primary()) {
				t.Errorf("%s: %+v, want it under %d", tc.reason, c.Secrets, tc.under.Primary())
			}
			clearSecrets(t, p)
		}
	})
}
