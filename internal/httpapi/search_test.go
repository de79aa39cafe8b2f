// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Who searches for what is rare gets it with the first page, if there is time for that, and else some pages of nothing
// before it; in either case once.
func TestASearchLooksOn(t *testing.T) { onBoth(t, aSearchLooksOn) }

func aSearchLooksOn(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		reason          string
		searchFor       time.Duration
		atLeast, atMost int // pages until it is found
	}{
		{"with time", time.Hour, 1, 1},
		{"without", -1, 3, 100},
	} {
		f := newFixture(t, nil, func(p *parts) { p.SearchFor = c.searchFor })
		key := f.newKey(t)
		f.connect(t, key)
		f.write(t, key, "a needle")
		for range 4 { // each is more than the store looks at for one page
			f.write(t, key, slices.Repeat([]string{strings.Repeat("x", 60_000)}, 36)...)
		}
		pages, found := f.search(t, key, "needle")
		if pages < c.atLeast || pages > c.atMost || found != 1 {
			t.Errorf("%s: found %d after %d pages", c.reason, found, pages)
		}
		if pages, found := f.search(t, key, "zebra"); pages < c.atLeast || pages > c.atMost || found != 0 {
			t.Errorf("%s: what is not there: found %d after %d pages", c.reason, found, pages)
		}
	}
}

// write stores posts with these texts. They are canceled, so that nobody publishes them.
func (f *fixture) write(t *testing.T, key string, texts ...string) {
	t.Helper()
	view := f.config.Store.View(f.admitted(t, key))
	accounts, _, err := view.Accounts(t.Context(), store.Page{Limit: 1})
	check(t, err)
	var posts []store.Post
	for _, text := range texts {
		posts = append(posts, store.Post{
			ID: newID(), BatchID: newID(), MadeBy: view.Actor(), AccountID: accounts[0].ID,
			Platform: accounts[0].Platform, Status: store.Canceled, Text: text, CreatedAt: now,
		})
	}
	check(t, view.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.AddPosts(posts)
		return err
	}))
}

// search asks for pages until something is found, or there are no more, and then for all others.
func (f *fixture) search(t *testing.T, key, q string) (pages, found int) {
	t.Helper()
	for cursor := ""; ; {
		page := decode[endpoint.Page[post]](t, f.get(t, "/v1/posts?q="+url.QueryEscape(q)+cursor, key))
		if found == 0 {
			pages++
		}
		found += len(page.Data)
		if page.NextCursor == nil || pages > 1000 {
			return pages, found
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}
