// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// goneOf are the accounts that were disconnected, as a view has them.
func goneOf(t *testing.T, v *store.View, p store.Page) (gone []store.Account, more bool) {
	t.Helper()
	gone, more, err := v.Disconnected(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return gone, more
}

// TestDisconnected: an account that was disconnected is remembered, by whom it was of alone, and without what opened
// it. Connected again it is a new one with its former id; whoever is about to renew earlier secrets comes too late.
func TestDisconnected(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v := viewOf(t, db)
		p1, p2 := authntest.Profile(), authntest.Profile()
		a := put(t, v, account(string(p1.UID)))
		write(t, v, func(tx *store.Tx) error {
			return tx.PutSecrets(a.ID, []store.SealedSecret{{Name: "app_password", KeyID: 1, Sealed: []byte("sealed")}})
		})
		before, err := db.Work().Connection(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		clk.SetTime(now.Add(time.Minute))
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })

		want := store.Account{
			ID: a.ID, ProfileID: a.ProfileID, Platform: a.Platform, PlatformAccountID: a.PlatformAccountID,
			DisplayName: a.DisplayName, CreatedAt: now, UpdatedAt: now.Add(time.Minute), DisconnectedAt: now.Add(time.Minute),
		}
		some := store.Page{Limit: 10}
		for reason, view := range map[string]*store.View{
			"the organization": v, "its profile": db.View(admitted(t, key.Live, p1)), "narrowed to it": v.Within(string(p1.UID)),
		} {
			if got, more := goneOf(t, view, some); more || !cmp.Equal(got, []store.Account{want}) {
				t.Errorf("%s: %+v, %t", reason, got, more)
			}
		}
		for reason, view := range map[string]*store.View{
			"another profile":      db.View(admitted(t, key.Live, p2)),
			"another environment":  db.View(admitted(t, key.Test, nil)),
			"another organization": db.View(admitted(t, key.Live, nil, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f"))),
			"narrowed to another":  v.Within("profile-3"),
		} {
			if got, _ := goneOf(t, view, some); len(got) != 0 {
				t.Errorf("%s sees %+v", reason, got)
			}
		}
		left := 0
		if err := store.Handle(db).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM account_secrets").Scan(&left); err != nil || left != 0 {
			t.Errorf("%d secrets are left, %v", left, err)
		}

		again := account(a.ProfileID)
		again.PlatformAccountID = a.PlatformAccountID
		write(t, v, func(tx *store.Tx) error {
			got, created, err := tx.PutAccount(again)
			if !created || got.ID != a.ID || got.CreatedAt != again.CreatedAt {
				t.Errorf("connected again: %+v, created %t", got, created)
			}
			return err
		})
		if got, _ := goneOf(t, v, some); len(got) != 0 {
			t.Errorf("connected again, and remembered as disconnected: %+v", got)
		}
		after, err := db.Work().Connection(t.Context(), a.ID)
		if err != nil || after.Version <= before.Version {
			t.Errorf("the secrets have version %d, and had %d: %v", after.Version, before.Version, err)
		}
		elsewhere := again
		elsewhere.ID, elsewhere.ProfileID = newID(), ""
		if got := put(t, v, elsewhere); got.ID != elsewhere.ID {
			t.Errorf("the same account of another profile: %+v", got)
		}
	})
}

// TestDisconnectedAreBounded: in number and in time, and in pages.
func TestDisconnectedAreBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a, b := put(t, v, account("")), put(t, v, account(""))
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
		_, err := store.Handle(db).ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO disconnected_accounts
SELECT 'old-' || x.n, d.organization_id, d.environment, '', d.platform, 'did:old:' || x.n, '', 0, 0, d.disconnected_at - x.n
FROM disconnected_accounts AS d, (WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 999)
SELECT n FROM c) AS x WHERE d.id = '%s'`, a.ID))
		if err != nil {
			t.Fatal(err)
		}
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(b.ID) })
		var ids []string
		page := store.Page{Limit: 600}
		for more := true; more; {
			var gone []store.Account
			gone, more = goneOf(t, v, page)
			for _, g := range gone {
				ids = append(ids, g.ID)
				page.After = store.Position{At: g.DisconnectedAt, ID: g.ID}
			}
		}
		if len(ids) != 1000 || ids[999] != "old-998" {
			t.Errorf("%d are remembered, the oldest %s", len(ids), ids[len(ids)-1])
		}
		for _, tc := range []struct {
			after time.Duration
			left  int
		}{{store.DisconnectedRetention - time.Second, 1000}, {store.DisconnectedRetention, 0}} {
			if _, err := db.Work().Purge(t.Context(), now.Add(tc.after), 2000); err != nil {
				t.Fatal(err)
			}
			if got, _ := goneOf(t, v, store.Page{Limit: 2000}); len(got) != tc.left {
				t.Errorf("after %s: %d, want %d", tc.after, len(got), tc.left)
			}
		}
	})
}

// TestConnectedWhileDisconnected: whoever connects an account while another one disconnects it has it with its former
// id, and nothing says that it is disconnected.
func TestConnectedWhileDisconnected(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		again := a
		again.ID = newID()
		deleted, waiting := make(chan struct{}), make(chan struct{})
		var running sync.WaitGroup
		running.Go(func() {
			if err := v.Write(t.Context(), func(tx *store.Tx) error {
				err := tx.DeleteAccount(a.ID)
				close(deleted)
				<-waiting
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			<-deleted
			if err := v.Write(t.Context(), func(tx *store.Tx) (err error) {
				again, _, err = tx.PutAccount(again)
				return err
			}); err != nil {
				t.Error(err)
			}
		})
		<-deleted
		if strings.HasPrefix(url, "postgres") { // with SQLite, the second one can't even begin
			untilSomebodyWaits(t, db)
		}
		close(waiting)
		running.Wait()
		if gone, _ := goneOf(t, v, store.Page{Limit: 10}); again.ID != a.ID || len(gone) > 0 {
			t.Errorf("connected as %s, and was %s; disconnected: %+v", again.ID, a.ID, gone)
		}
	})
}

// untilSomebodyWaits returns once a transaction waits for a lock of another one.
func untilSomebodyWaits(t *testing.T, db *store.DB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var n int
		if err := store.Handle(db).QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
}

// TestConnectedAndDisconnectedAtOnce: of many who connect and disconnect one account at the same moment, all see one
// account, which is connected or disconnected, and never both.
func TestConnectedAndDisconnectedAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				for range 10 {
					again := a
					again.ID = newID()
					if err := v.Write(t.Context(), func(tx *store.Tx) (err error) {
						again, _, err = tx.PutAccount(again)
						return err
					}); err != nil || again.ID != a.ID {
						t.Errorf("connected as %s, and was %s: %v", again.ID, a.ID, err)
					}
					err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		connected, _, err := v.Accounts(t.Context(), store.Page{Limit: 10})
		if gone, _ := goneOf(t, v, store.Page{Limit: 10}); err != nil || len(connected)+len(gone) != 1 {
			t.Errorf("connected: %+v, disconnected: %+v, %v", connected, gone, err)
		}
	})
}
