// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func quotas(a store.Amounts) func(*store.Options) { return func(o *store.Options) { o.Quotas = a } }

// kinds is, for each resource, a write that takes one of it, and one that gives it back.
var kinds = map[store.Resource]struct {
	take func(*store.Tx, store.Account) (id string, err error)
	give func(*store.Tx, string) error
}{
	store.Posts: {
		func(tx *store.Tx, a store.Account) (string, error) {
			p := post(a, publishing, saying(""))
			_, err := tx.AddPosts([]store.Post{p})
			return p.BatchID, err
		},
		func(tx *store.Tx, batchID string) error { return tx.Undo(batchID) },
	},
	store.QueuedPosts: {
		func(tx *store.Tx, a store.Account) (string, error) {
			p := post(a)
			_, err := tx.AddPosts([]store.Post{p})
			return p.ID, err
		},
		func(tx *store.Tx, id string) error { _, err := tx.CancelPost(id); return err },
	},
	store.MediaFiles: {
		func(tx *store.Tx, _ store.Account) (string, error) {
			m := medium("")
			return m.ID, tx.AddMedia(m)
		},
		func(tx *store.Tx, id string) error { _, err := tx.DeleteMedia(id); return err },
	},
	store.Bytes: {
		func(tx *store.Tx, _ store.Account) (string, error) {
			m := medium("")
			m.SizeBytes = 1
			return m.ID, tx.AddMedia(m)
		},
		func(tx *store.Tx, id string) error { _, err := tx.DeleteMedia(id); return err },
	},
	store.Accounts: {
		func(tx *store.Tx, _ store.Account) (string, error) {
			a := account("")
			_, _, err := tx.PutAccount(a)
			return a.ID, err
		},
		func(tx *store.Tx, id string) error { return tx.DeleteAccount(id) },
	},
}

// TestQuotas fills each quota to the last place, by many writers at once, and sees that exactly as many are let in as
// there is room for, that what was given back can be taken again, and that another organization notices nothing.
func TestQuotas(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		clk := clocktesting.NewFakeClock(now)
		for _, resource := range store.Resources {
			kind, ok := kinds[resource]
			if !ok {
				t.Fatalf("%s is not tried", resource)
			}
			t.Run(string(resource), func(t *testing.T) {
				const room, writers = 5, 12
				// Each quota has a database process of its own; the database is one, so each has another organization.
				db, _ := open(t, url, clk, quotas(store.Amounts{resource: room}))
				store.Patience(db, time.Minute) // so many at once, of one organization
				own, other := db.View(newcomer(t)), db.View(newcomer(t))
				a, b := put(t, own, account("")), put(t, other, account(""))

				left := room
				if resource == store.Accounts {
					left-- // the one that is there
				}
				var mu sync.Mutex
				var taken []string
				refused := 0
				var all sync.WaitGroup
				for range writers {
					all.Go(func() {
						var id string
						err := own.Write(t.Context(), func(tx *store.Tx) (err error) { id, err = kind.take(tx, a); return err })
						mu.Lock()
						defer mu.Unlock()
						switch e := (*store.QuotaError)(nil); {
						case err == nil:
							taken = append(taken, id)
						case !errors.As(err, &e):
							t.Error(err)
						default:
							refused++
							if want := (store.QuotaError{Resource: resource, Used: room, Quota: room}); *e != want {
								t.Errorf("refused with %+v, want %+v", *e, want)
							}
						}
					})
				}
				all.Wait()
				if len(taken) != left || refused != writers-left {
					t.Fatalf("%d were let in and %d refused, with room for %d", len(taken), refused, left)
				}
				write(t, other, func(tx *store.Tx) error { _, err := kind.take(tx, b); return err })

				var full *store.QuotaError
				if _, err := own.Room(t.Context(), store.Amounts{resource: 1}); !errors.As(err, &full) {
					t.Errorf("where there is no room, there is %v", err)
				}
				write(t, own, func(tx *store.Tx) error { return kind.give(tx, taken[0]) })
				if _, err := own.Room(t.Context(), store.Amounts{resource: 1}); err != nil {
					t.Error(err)
				}
				write(t, own, func(tx *store.Tx) error { _, err := kind.take(tx, a); return err })
				if n, err := db.Work().Recount(t.Context()); n != 0 || err != nil {
					t.Errorf("%d organizations were counted wrongly, %v", n, err)
				}
			})
		}
	})
}

// newcomer is a caller of an organization that has nothing yet.
func newcomer(t *testing.T) *caller.Caller {
	t.Helper()
	id := newID()
	return admitted(t, key.Live, nil, authntest.In("namespace-"+id, id))
}

// TestAtQuota is what whoever has as much as they may, or more, can and can't do.
func TestAtQuota(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		clk := clocktesting.NewFakeClock(now)
		caller := admitted(t, key.Live, nil)
		before, _ := open(t, url, clk)
		a := put(t, before.View(caller), account(""))
		first, second := post(a, saying("some text")), post(a, standing(store.Failed))
		add(t, before.View(caller), first, second)
		add(t, before.View(caller), post(put(t, before.View(caller), account("")), publishing))

		// Less than there is: somebody has lowered them.
		db, _ := open(t, url, clk, quotas(store.Amounts{
			store.Posts: 1, store.QueuedPosts: 1, store.MediaFiles: 1, store.Bytes: 1, store.Accounts: 1,
		}))
		v := db.View(caller)
		try := func(do func(*store.Tx) error) (refused store.Resource) {
			t.Helper()
			err := v.Write(t.Context(), do)
			var e *store.QuotaError
			if err != nil && !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e == nil {
				return ""
			}
			return e.Resource
		}
		edit := func(text string) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				_, err := tx.EditPost(first.ID, store.Edit{Text: &text})
				return err
			}
		}
		for _, tc := range []struct {
			what string
			do   func(*store.Tx) error
			want store.Resource
		}{
			{"a longer text", edit("some text, and more"), store.Bytes},
			{"a shorter text", edit("some"), ""},
			{"a failed post again, whose first attempt counts with it", func(tx *store.Tx) error {
				_, err := tx.RequeuePost(second.ID, "key-1", time.Time{})
				return err
			}, store.QueuedPosts},
			{"an account again", func(tx *store.Tx) error {
				again := a
				again.ID = newID()
				_, _, err := tx.PutAccount(again)
				return err
			}, ""},
			{"another account", func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err }, store.Accounts},
			{"a post", func(tx *store.Tx) error { _, err := tx.AddPosts([]store.Post{post(a)}); return err }, store.Posts},
			{"a file", func(tx *store.Tx) error { return tx.AddMedia(medium("")) }, store.Bytes},
		} {
			if got := try(tc.do); got != tc.want {
				t.Errorf("%s: refused for %q, want %q", tc.what, got, tc.want)
			}
		}
		if posts, _, err := v.Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 10}); len(posts) != 3 || err != nil {
			t.Errorf("%d posts are there, %v: want the three from before", len(posts), err)
		}
		clk.Step(2 * time.Hour)
		if _, _, err := db.Work().Start(t.Context(), first.ID); err != nil {
			t.Errorf("what is queued is not published any more: %v", err)
		}
		if try(func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) }) != "" {
			t.Error("an account can't be deleted")
		}
		shop := authntest.Profile()
		for what, tc := range map[string]struct {
			view *store.View
			told bool
		}{
			"the organization's caller":                     {v, true},
			"the organization's caller, who asks of a part": {v.Within(string(shop.UID)), true},
			"who is confined to a profile":                  {db.View(admitted(t, key.Live, shop)), false},
		} {
			var e *store.QuotaError
			if _, err := tc.view.Room(t.Context(), store.Amounts{store.Posts: 1}); !errors.As(err, &e) || e.Used >= 0 != tc.told {
				t.Errorf("%s is told %+v", what, e)
			}
		}
	})
}

func TestMetricsOfQuotas(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		registry := prometheus.NewRegistry()
		db, _ := open(t, url, clocktesting.NewFakeClock(now), quotas(store.Amounts{store.Accounts: 2, store.Posts: 10}),
			func(o *store.Options) { o.Registerer = registry })
		v := viewOf(t, db)
		a := put(t, v, account(""))
		put(t, v, account(""))
		add(t, v, post(a), post(a))
		if err := v.Write(t.Context(), func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err }); err == nil {
			t.Fatal("a third account was connected")
		}
		if err := db.Work().MeasureUsage(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := `
# HELP lmp_quota How much of a resource one organization may have.
# TYPE lmp_quota gauge
lmp_quota{resource="accounts"} 2
lmp_quota{resource="posts"} 10
# HELP lmp_quota_organizations_reached Organizations that have as much of a resource as they may, when last looked.
# TYPE lmp_quota_organizations_reached gauge
lmp_quota_organizations_reached{resource="accounts"} 1
lmp_quota_organizations_reached{resource="posts"} 0
# HELP lmp_quota_refusals_total Writes refused because the organization has as much as it may.
# TYPE lmp_quota_refusals_total counter
lmp_quota_refusals_total{resource="accounts"} 1
lmp_quota_refusals_total{resource="posts"} 0
# HELP lmp_quota_use_ratio The largest share of its quota that any organization uses, when last looked.
# TYPE lmp_quota_use_ratio gauge
lmp_quota_use_ratio{resource="accounts"} 1
lmp_quota_use_ratio{resource="posts"} 0.2
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}
