// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func TestEnginesTakeEveryStatement(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		if err := store.Prepare(t.Context(), db); err != nil {
			t.Error(err)
		}
	})
}

func TestPagesShowEachOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		var posts []store.Post
		var want []string
		for i := range 11 {
			p := post(a, createdAt(now.Add(time.Duration(i/3)*time.Microsecond))) // three at a time, which their ids put in order
			posts, want = append(posts, p), append(want, p.ID)
			addMedium(t, v, store.Media{ID: p.ID, CreatedAt: p.CreatedAt})
		}
		add(t, v, posts...)
		slices.Reverse(want)
		for _, limit := range []int{1, 3, 10, 11, 12} {
			got, gotMedia := []string{}, []string{}
			for page, more := (store.Page{Limit: limit}), true; more; {
				var some []store.Post
				var err error
				some, page.After, err = v.Posts(t.Context(), store.PostFilter{Statuses: []string{"queued"}, Query: "HELL"}, page)
				if more = page.After != (store.Position{}); err != nil || len(some) == 0 {
					t.Fatalf("page of %d: %v", len(some), err)
				}
				for _, p := range some {
					got = append(got, p.ID)
				}
			}
			for page, more := (store.Page{Limit: limit}), true; more; {
				var some []store.Media
				var err error
				if some, more, err = v.Medias(t.Context(), page); err != nil || len(some) == 0 {
					t.Fatalf("page of %d: %v", len(some), err)
				}
				for _, m := range some {
					gotMedia = append(gotMedia, m.ID)
					page.After = store.Position{At: m.CreatedAt, ID: m.ID}
				}
			}
			if diff := cmp.Diff([][]string{want, want}, [][]string{got, gotMedia}); diff != "" {
				t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
			}
		}
	})
}

func TestPostFilter(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		add(t, v, post(a, saying("100% of Ünï_code")), post(a, saying("100 of them!"), standing(store.Failed)),
			post(a, saying("later"), createdAt(now.Add(time.Hour))))
		running := post(a, saying("broken"), publishing)
		attempt := add(t, v, running)[0]
		if err := db.Work().Finish(t.Context(), []store.Outcome{{Attempt: attempt, Failure: &failure}}); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			reason string
			filter store.PostFilter
			want   []string
		}{
			{"a status", store.PostFilter{Statuses: []string{"failed"}}, []string{"broken", "100 of them!"}},
			{"two, and one that is none", store.PostFilter{Statuses: []string{"failed", "queued", "x"}, Before: now.Add(time.Second)}, []string{"broken", "100 of them!", "100% of Ünï_code"}},
			{"none that exists", store.PostFilter{Statuses: []string{"\x00"}}, nil},
			{"a code", store.PostFilter{ErrorCodes: []string{platform.CodeUnavailable}}, []string{"broken"}},
			{"a platform", store.PostFilter{Platforms: []string{"linkedin"}}, nil},
			{"from a time on", store.PostFilter{After: now.Add(time.Hour)}, []string{"later"}},
			{"before a time", store.PostFilter{Before: now}, nil},
			{"a word in any case", store.PostFilter{Query: "OF THEM"}, []string{"100 of them!"}},
			{"letters beyond A to Z in any case", store.PostFilter{Query: "üNÏ"}, []string{"100% of Ünï_code"}},
			{"what is a wildcard to LIKE", store.PostFilter{Query: "0%"}, []string{"100% of Ünï_code"}},
			{"the other wildcard", store.PostFilter{Query: "Ünï_C"}, []string{"100% of Ünï_code"}},
			{"what escapes them", store.PostFilter{Query: "m!"}, []string{"100 of them!"}},
			{"no text", store.PostFilter{Query: "\xff"}, nil},
			{"NUL", store.PostFilter{Query: "\x00"}, nil},
			{"a quote", store.PostFilter{Query: "'"}, nil},
			{"more than SQLite takes as a pattern", store.PostFilter{Query: strings.Repeat("x", 1<<16)}, nil},
		} {
			got, _, err := v.Posts(t.Context(), tc.filter, store.Page{Limit: 10})
			var texts []string
			for _, p := range got {
				texts = append(texts, p.Text)
			}
			if diff := cmp.Diff(tc.want, texts); diff != "" || err != nil {
				t.Errorf("%s, %v (-want +got):\n%s", tc.reason, err, diff)
			}
		}
		for _, id := range badIDs[1:] {
			if _, _, err := v.Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 1, After: store.Position{At: now, ID: id}}); err != nil {
				t.Errorf("after %.20q: %v", id, err)
			}
		}
	})
}

// TestListingsAreReadFromAnIndex makes sure that no page costs more than another: rows are found where the page begins,
// in the order in which they are shown.
func TestListingsAreReadFromAnIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		p1 := authntest.Profile()
		v := viewOf(t, db)
		for _, profile := range []string{"", string(p1.UID)} {
			a := put(t, v, account(profile))
			for i := range 20 {
				var posts []store.Post
				for j := range 100 {
					posts = append(posts, post(a, createdAt(now.Add(time.Duration(100*i+j)*time.Second)), standing([]store.Status{store.Queued, store.Failed}[j%2])))
				}
				add(t, v, posts...)
			}
		}
		if _, err := store.Handle(db).ExecContext(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			reason string
			view   *store.View
			filter store.PostFilter
			index  string
		}{
			{"the organization's", v, store.PostFilter{}, "posts_listed"},
			{"a profile's", db.View(admitted(t, key.Live, p1)), store.PostFilter{}, "posts_listed_by_profile"},
			{"a status", v, store.PostFilter{Statuses: []string{"failed"}}, "posts_listed"}, // _by_status, if there is little of it
			{"a text", v, store.PostFilter{Query: "x"}, "posts_listed"},
		} {
			for _, after := range []store.Position{{}, {At: now.Add(500 * time.Second), ID: newID()}} {
				plan, err := tc.view.Plan(t.Context(), tc.filter, store.Page{Limit: 10, After: after})
				if err != nil {
					t.Fatal(err)
				}
				sorts := strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE")
				begins := after == store.Position{} || strings.Contains(plan, "ROW(created_at, id) < ROW(") || strings.Contains(plan, "(created_at,id)<(?,?)")
				if sorts || !begins || !strings.Contains(plan, tc.index) {
					t.Errorf("%s, after %v: not read from %s:\n%s", tc.reason, after, tc.index, plan)
				}
			}
		}
	})
}

// TestFiltersTakeNoStatementsPlace: whoever asks with ever other filters does not make everybody's reads slower.
func TestFiltersTakeNoStatementsPlace(t *testing.T) {
	db, _ := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "db"))
	v := viewOf(t, db)
	before := store.Prepared(db)
	words := []string{}
	for i := range 300 {
		words = append(words, fmt.Sprint("word", i))
		if _, _, err := v.Posts(t.Context(), store.PostFilter{ErrorCodes: words}, store.Page{Limit: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if n := store.Prepared(db); n != before {
		t.Errorf("%d statements were prepared for filters", n-before)
	}
	if _, err := v.Post(t.Context(), newID()); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if n := store.Prepared(db); n != before+1 {
		t.Errorf("a read that everybody makes is not prepared any more: %d, want %d", n, before+1)
	}
}
