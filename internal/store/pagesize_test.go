// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// A page of large posts ends early, and the pages make up the listing all the same.
func TestPagesAreBoundedInBytes(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		a := put(t, v, account(""))
		m := addMedium(t, v, medium(""))
		const posts = 30
		alt := strings.Repeat("\x01", 15_000) // six bytes each, in JSON
		for range posts {
			add(t, v, post(a, saying(strings.Repeat("x", 60_000)), with(store.MediaRef{Kind: "image", MediaID: m.ID, AltText: alt})))
		}
		for _, query := range []string{"", "XXX"} {
			seen := map[string]bool{}
			page := store.Page{Limit: 200}
			for requests := 0; ; requests++ {
				got, next, err := v.Posts(t.Context(), store.PostFilter{Query: query}, page)
				if err != nil {
					t.Fatal(err)
				}
				bytes := 0
				for _, p := range got {
					seen[p.ID] = true
					bytes += len(p.Text) + 6*len(p.Media[0].AltText)
				}
				if bytes > 2<<20 || len(got) == 0 || requests > posts {
					t.Fatalf("page %d has %d posts of %d bytes", requests, len(got), bytes)
				}
				if next == (store.Position{}) {
					break
				}
				page.After = next
			}
			if len(seen) != posts {
				t.Errorf("%d of %d posts are listed", len(seen), posts)
			}
		}
	})
}
