// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// A process may live and not know what it has begun: the database had done it when the connection broke, and the process was
// told that it had failed. Half an hour later, that counts as abandoned.
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
				if _, err := db.Handle().ExecContext(t.Context(), "UPDATE "+table+" SET begun_at = begun_at - "+minutes+" * 60000000"); err != nil {
					t.Fatal(err)
				}
			}
		}
		age("20")
		if n, err := db.Work().FailLost(t.Context(), failure); n != 0 || err != nil {
			t.Errorf("after 20 minutes: failed %d, %v", n, err)
		}
		if _, _, err := v.Claim(t.Context(), r); !errors.Is(err, store.ErrInProgress) {
			t.Errorf("after 20 minutes: claimed with %v", err)
		}
		age("11")
		if n, err := db.Work().FailLost(t.Context(), failure); n != 1 || err != nil {
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
