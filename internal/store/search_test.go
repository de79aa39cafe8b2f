// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestSearchesAreBounded: a page ends when it has looked at enough, whether or not it has found anything, and the pages
// together find all there is, once.
func TestSearchesAreBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		long := strings.Repeat("\u0301", 20_000)
		var want []string
		for i := range 8 {
			var posts []store.Post
			for j := range 25 {
				p := post(a, saying(long), createdAt(now.Add(time.Duration(25*i+j)*time.Millisecond)))
				if i == 0 && j%7 == 0 { // the oldest, which the last page finds
					p.Text += "Needle"
					want = append([]string{p.ID}, want...)
				}
				posts = append(posts, p)
			}
			add(t, v, posts...)
		}
		var got []string
		page, empty, pages := store.Page{Limit: 10}, 0, 0
		for more := true; more; pages++ {
			posts, next, err := v.Posts(t.Context(), store.PostFilter{Query: "nEEDLe"}, page)
			if err != nil || pages > 200 {
				t.Fatalf("page %d: %v", pages, err)
			}
			if len(posts) == 0 {
				empty++
			}
			for _, p := range posts {
				got = append(got, p.ID)
			}
			page.After, more = next, next != store.Position{}
		}
		if !slices.Equal(got, want) {
			t.Errorf("found %d posts, want %d, newest first: %v, want %v", len(got), len(want), got, want)
		}
		// 200 texts of 40,000 bytes are four times what a page looks at.
		if pages < 4 || empty == 0 {
			t.Errorf("%d pages, %d of them without a post: one has looked at too much", pages, empty)
		}
	})
}

// TestSearchesOfOneOrganization keep that one waiting, and not another's list: it floods the database with what costs
// most to look at. What a list takes is measured against what a search does, which waits for the others of the flood.
func TestSearchesOfOneOrganization(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		hostile := viewOf(t, db)
		other := db.View(admitted(t, key.Live, nil, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f")))
		a, b := put(t, hostile, account("")), put(t, other, account(""))
		long := strings.Repeat("\u0301", 20_000)
		for range 8 {
			var posts []store.Post
			for range 25 {
				posts = append(posts, post(a, saying(long)))
			}
			add(t, hostile, posts...)
		}
		for range 4 {
			add(t, other, post(b), post(b), post(b))
		}
		measure := func() time.Duration {
			var took []time.Duration
			for range 100 {
				began := time.Now()
				if _, _, err := other.Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 10}); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
		end := make(chan struct{})
		var searches sync.Mutex
		var each []time.Duration // what a search takes
		var running sync.WaitGroup
		for range 40 {
			running.Go(func() {
				for {
					select {
					case <-end:
						return
					default:
					}
					f := store.PostFilter{Query: strings.Repeat("\u0301", 199) + "x"}
					began := time.Now()
					if _, _, err := hostile.Posts(t.Context(), f, store.Page{Limit: 10}); err != nil && !errors.Is(err, store.ErrBusy) {
						t.Error(err)
						return
					}
					searches.Lock()
					each = append(each, time.Since(began))
					searches.Unlock()
				}
			})
		}
		enough := func(n int) bool {
			searches.Lock()
			defer searches.Unlock()
			return len(each) >= n
		}
		for !enough(10) {
			time.Sleep(time.Millisecond) // until the flood has come
		}
		list := measure()
		for !enough(80) {
			time.Sleep(time.Millisecond)
		}
		close(end)
		running.Wait()
		slices.Sort(each)
		search := each[len(each)/2]
		t.Logf("medians: a list takes %v, a search %v", list, search)
		if list > search/4 {
			t.Errorf("a list takes %v while another organization searches, whose searches take %v", list, search)
		}
	})
}
