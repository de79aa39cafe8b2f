// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"database/sql"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// TestUsage walks what is stored through all that may become of it, and sees after each step that what is counted is
// what there is.
func TestUsage(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		m := addMedium(t, v, medium(""))
		want := store.Amounts{store.Accounts: 1, store.MediaFiles: 1, store.Bytes: m.SizeBytes}
		check := func(step string, change store.Amounts) {
			t.Helper()
			for r, n := range change {
				want[r] += n
			}
			got := usageOf(t, db)
			maps.DeleteFunc(got, func(_ store.Resource, n int64) bool { return n == 0 })
			maps.DeleteFunc(want, func(_ store.Resource, n int64) bool { return n == 0 })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", step, diff)
			}
			if n, err := db.Work().Recount(t.Context()); n != 0 || err != nil {
				t.Fatalf("%s: %d organizations were counted wrongly, %v", step, n, err)
			}
		}
		check("an account and a file", nil)
		write(t, v, func(tx *store.Tx) error { _, _, err := tx.PutAccount(a); return err })
		check("connected again", nil)

		queued, other := post(a, saying("é")), post(a, saying("12345"))
		attempts := add(t, v, queued, other, post(a, publishing, saying("now"), with(store.MediaRef{Kind: "image", MediaID: m.ID})))
		mediaBytes := int64(len(`[{"kind":"image","mediaId":""}]`) + len(m.ID))
		check("two queued and one at once", store.Amounts{store.Posts: 3, store.QueuedPosts: 2, store.Bytes: 2 + 5 + 3 + mediaBytes})
		finish := func(a store.Attempt) {
			t.Helper()
			if err := db.Work().Finish(t.Context(), []store.Outcome{{Attempt: a, Failure: &failure}}); err != nil {
				t.Fatal(err)
			}
		}
		finish(attempts[0])
		check("failed", nil)
		write(t, v, func(tx *store.Tx) error {
			_, err := tx.EditPost(queued.ID, store.Edit{Text: new("longer")})
			return err
		})
		check("edited", store.Amounts{store.Bytes: 4})
		write(t, v, func(tx *store.Tx) error { _, err := tx.CancelPost(other.ID); return err })
		check("canceled", store.Amounts{store.QueuedPosts: -1})
		clk.Step(2 * time.Hour)
		for round := range 3 {
			_, attempt, err := db.Work().Start(t.Context(), queued.ID)
			if err != nil {
				t.Fatal(err)
			}
			change := store.Amounts{store.QueuedPosts: -1, store.Posts: 1}
			if round == 0 {
				change[store.Posts] = 0 // the first attempt counts with the post
			}
			check("begun", change)
			finish(attempt.Attempt)
			write(t, v, func(tx *store.Tx) error { _, err := tx.RequeuePost(queued.ID, "key-2", time.Time{}); return err })
			check("queued again", store.Amounts{store.QueuedPosts: 1})
		}
		if _, err := db.Work().CancelQueuedBy(t.Context(), "key-2"); err != nil {
			t.Fatal(err)
		}
		check("canceled with its key", store.Amounts{store.QueuedPosts: -1})
		write(t, v, func(tx *store.Tx) error { _, err := tx.RequeuePost(queued.ID, "key-2", time.Time{}); return err })
		write(t, v, func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) })
		check("its account deleted", store.Amounts{store.Accounts: -1})
		write(t, v, func(tx *store.Tx) error { _, err := tx.DeleteMedia(m.ID); return err })
		check("the file deleted", store.Amounts{store.MediaFiles: -1, store.Bytes: -m.SizeBytes})
	})
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
	})
}

// TestRecount breaks what is counted behind the triggers' back.
func TestRecount(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		add(t, v, post(put(t, v, account("")), saying("text")))
		right := usageOf(t, db)
		if _, err := store.Handle(db).ExecContext(t.Context(),
			`UPDATE usage SET posts = posts + 7, queued_posts = -2, bytes = 0`); err != nil {
			t.Fatal(err)
		}
		// Two at once, of which one corrects, and not both.
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if _, err := db.Work().Recount(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if diff := cmp.Diff(right, usageOf(t, db)); diff != "" {
			t.Errorf("after a recount (-want +got):\n%s", diff)
		}
	})
}

// TestUsageOfWhatWasThere migrates a database that has rows from before anything was counted.
func TestUsageOfWhatWasThere(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		add(t, v, post(a), post(a, publishing))
		addMedium(t, v, medium(""))
		want := usageOf(t, db)
		store.CountAgain(t, db)
		if diff := cmp.Diff(want, usageOf(t, db)); diff != "" {
			t.Errorf("after the migration (-want +got):\n%s", diff)
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

// usageOf is the only organization's usage, as it stands in the database.
func usageOf(t *testing.T, db *store.DB) store.Amounts {
	t.Helper()
	var numbers [5]int64
	err := store.Handle(db).QueryRowContext(t.Context(), `SELECT posts, queued_posts, media_files, bytes, accounts FROM usage`).
		Scan(&numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4])
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	usage := store.Amounts{}
	for i, r := range store.Resources {
		usage[r] = numbers[i]
	}
	return usage
}
