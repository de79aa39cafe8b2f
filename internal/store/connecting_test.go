// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestConnecting: what waits for a browser is taken once, holds the vault's key, and goes by itself.
func TestConnecting(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v, work := viewOf(t, db), db.Work()
		others := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		waiting := func() store.Connecting {
			return store.Connecting{
				ID: newID(), Platform: "bluesky", KeyID: 7, Sealed: []byte("sealed"), ExpiresAt: clk.Now().Add(10 * time.Minute),
			}
		}
		putConnecting := func(v *store.View, c store.Connecting) error {
			return v.Write(t.Context(), func(tx *store.Tx) error { return tx.PutConnecting(c) })
		}
		c := waiting()
		if err := putConnecting(v, c); err != nil {
			t.Fatal(err)
		}
		by, err := work.SealedBy(t.Context())
		if err != nil || by[7] != 1 {
			t.Errorf("sealed by %v, %v: the vault's key is needed", by, err)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for range 8 {
			all.Go(func() {
				got, err := work.TakeConnecting(t.Context(), c.ID)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && string(got.Sealed) == "sealed" && got.Platform == "bluesky" && got.ExpiresAt.Equal(c.ExpiresAt) && got.Organization != "":
					taken++
				case !errors.Is(err, store.ErrNotFound):
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		all.Wait()
		if taken != 1 {
			t.Errorf("taken %d times", taken)
		}
		for _, id := range badIDs {
			if _, err := work.TakeConnecting(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%.20q: %v", id, err)
			}
		}

		// A bound for each organization, which those that have expired take no part of.
		write(t, v, func(tx *store.Tx) error {
			for range store.MaxConnecting {
				if err := tx.PutConnecting(waiting()); err != nil {
					return err
				}
			}
			return nil
		})
		if err := putConnecting(v, waiting()); !errors.Is(err, store.ErrTooManyConnecting) {
			t.Errorf("one more: %v", err)
		}
		if err := putConnecting(others, waiting()); err != nil {
			t.Errorf("another organization: %v", err)
		}
		clk.Step(11 * time.Minute)
		late := waiting()
		if err := putConnecting(v, late); err != nil {
			t.Errorf("when they have expired: %v", err)
		}
		clk.Step(time.Hour)
		if n, err := work.Purge(t.Context(), clk.Now(), 10); n != 10 || err != nil { // so that whoever asks asks again
			t.Fatalf("of many, %d went, %v", n, err)
		}
		if _, err := work.Purge(t.Context(), clk.Now(), 10*store.MaxConnecting); err != nil {
			t.Fatal(err)
		}
		by, err = work.SealedBy(t.Context())
		if err != nil || by[7] != 1 {
			t.Errorf("%v are left, %v; want the one that has expired for less than an hour", by, err)
		}
	})
}
