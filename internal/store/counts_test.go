// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestCounts: what hangs on a profile and on an account is counted as far as the view reaches, up to a bound.
func TestCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		const profile = "b0000000-0000-4000-8000-000000000001"
		own, other := put(t, v, account(profile)), put(t, v, account(""))
		addMedium(t, v, medium(profile))
		late := func(p *store.Post) { p.ScheduledAt = now.Add(-time.Hour) }
		add(t, v, post(own), post(own, late), post(own, standing(store.Canceled)), post(other))
		foreign := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		for _, tc := range []struct {
			reason string
			view   *store.View
			want   []int // accounts, media, queued, queued of own, overdue
		}{
			{"the organization", v, []int{2, 1, 3, 2, 1}},
			{"a profile", v.Within(profile), []int{1, 1, 2, 2, 1}},
			{"another profile", v.Within("b0000000-0000-4000-8000-000000000002"), []int{0, 0, 0, 0, 0}},
			{"another organization", foreign, []int{0, 0, 0, 0, 0}},
		} {
			var got []int
			for _, count := range []func(context.Context) (store.Count, error){
				tc.view.CountAccounts, tc.view.CountMedia, tc.view.CountQueued,
				func(ctx context.Context) (store.Count, error) { return tc.view.CountQueuedOf(ctx, own.ID) },
				func(ctx context.Context) (store.Count, error) {
					return tc.view.CountOverdue(ctx, now.Add(-time.Minute))
				},
			} {
				n, err := count(t.Context())
				if err != nil || n.More {
					t.Fatalf("%s: %+v %v", tc.reason, n, err)
				}
				got = append(got, n.N)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		}
		more := make([]store.Post, store.MostCounted)
		for i := range more {
			more[i] = post(other)
		}
		add(t, v, more...)
		if n, err := v.CountQueued(t.Context()); err != nil || n != (store.Count{N: store.MostCounted, More: true}) {
			t.Errorf("more than is counted: %+v %v", n, err)
		}
	})
}

// TestAccountsEnding finds those that somebody has to do something about, and posts by their account.
func TestAccountsEnding(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		soon, later, never := account(""), account(""), account("")
		later.TokenExpiresAt, never.TokenExpiresAt = now.Add(30*24*time.Hour), time.Time{}
		soon, later, never = put(t, v, soon), put(t, v, later), put(t, v, never)
		c, err := db.Work().Connection(t.Context(), never.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Work().RequireReconnect(t.Context(), never.ID, c.Version, failure); err != nil {
			t.Fatal(err)
		}
		ending, err := v.AccountsEnding(t.Context(), now.Add(14*24*time.Hour), 10)
		got := map[string]bool{}
		for _, a := range ending {
			got[a.ID] = true
		}
		if want := map[string]bool{soon.ID: true, never.ID: true}; err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v %v, want %v", got, err, want)
		}
		of := post(later)
		add(t, v, of, post(soon))
		posts, _, err := v.Posts(t.Context(), store.PostFilter{Accounts: []string{later.ID}}, store.Page{Limit: 10})
		if err != nil || len(posts) != 1 || posts[0].ID != of.ID {
			t.Errorf("posts of one account: %v %v", posts, err)
		}
	})
}
