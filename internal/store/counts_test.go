// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"slices"
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

// TestAccountsBy: each account is in the list of exactly one standing, at the very microsecond where that changes too,
// in the list of several as in that of each, and on pages.
func TestAccountsBy(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		soon, least := now.Add(14*24*time.Hour), time.Microsecond
		all := map[store.Standing][]string{}
		for _, tc := range []struct {
			ends     time.Time
			standing store.Standing
		}{
			{time.Time{}, store.Usable},
			{soon, store.Usable},
			{soon.Add(-least), store.Ending},
			{now.Add(least), store.Ending},
			{now, store.Ended},
			{now.Add(-time.Hour), store.Ended},
		} {
			a := account("")
			a.TokenExpiresAt = tc.ends
			all[tc.standing] = append(all[tc.standing], put(t, v, a).ID)
		}
		refused := account("")
		refused.TokenExpiresAt = time.Time{}
		refused = put(t, v, refused)
		if _, err := db.Work().RequireReconnect(t.Context(), refused.ID, 0, failure); err != nil {
			t.Fatal(err)
		}
		all[store.Ended] = append(all[store.Ended], refused.ID)
		foreign := db.View(admitted(t, key.Live, nil, authntest.In("globex", "610be000-0000-4000-8000-000000000000")))
		for chosen := range 8 { // each standing is in it or not
			f := store.AccountFilter{Usable: chosen&1 > 0, Ending: chosen&2 > 0, Ended: chosen&4 > 0, Now: now, Soon: soon}
			var want, got []string
			for s := range store.Gone {
				if chosen&(1<<s) > 0 {
					want = append(want, all[s]...)
				}
			}
			page := store.Page{Limit: 2}
			for more := true; more; {
				var some []store.Account
				var err error
				if some, more, err = v.AccountsBy(t.Context(), f, page); err != nil {
					t.Fatal(err)
				}
				for _, a := range some {
					got = append(got, a.ID)
					page.After = store.Position{At: a.CreatedAt, ID: a.ID}
				}
			}
			slices.Sort(want)
			slices.Reverse(want) // they are of one time
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", f, diff)
			}
			if some, _, err := foreign.AccountsBy(t.Context(), f, page); err != nil || len(some) > 0 {
				t.Errorf("another organization: %v %v", some, err)
			}
		}
	})
}
