// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// keysOfAges returns keys whose creation times tie often, and the plaintext of the first.
func keysOfAges(t *testing.T, random *rand.Rand, n int) (objects []any, plaintext string) {
	t.Helper()
	for i := range n {
		k, text := live(t, authntest.CreatedAt(authntest.Epoch.Add(-time.Duration(random.IntN(n/3+1))*time.Second)))
		if i == 0 {
			plaintext = text
		}
		objects = append(objects, k)
	}
	return objects, plaintext
}

// Whatever the limits, the pages make up the listing: everything once, in order.
func TestPagesMakeUpTheListing(t *testing.T) {
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 0))
		objects, plaintext := keysOfAges(t, random, 1+random.IntN(300))
		f := newFixture(t, objects)

		var got []string
		cursor := ""
		for requests := 0; ; requests++ {
			if requests > len(objects) {
				t.Fatal("the listing does not end")
			}
			limit := 1 + random.IntN(20)
			p := decode[endpoint.Page[apiKey]](t, f.get(t, fmt.Sprintf("/v1/api-keys?limit=%d%s", limit, cursor), plaintext))
			if len(p.Data) > limit || len(p.Data) == 0 || p.NextCursor != nil && len(p.Data) < limit {
				t.Fatalf("page of %d items, limit %d, cursor %v", len(p.Data), limit, p.NextCursor)
			}
			got = append(got, idsOf(p.Data, func(k apiKey) string { return k.ID })...)
			if p.NextCursor == nil {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(*p.NextCursor)
		}
		if diff := cmp.Diff(newestFirst(objects), got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

// newestFirst is the listing order, said once more, on other types.
func newestFirst(objects []any) []string {
	keys := make([]*v1alpha1.ApiKey, 0, len(objects))
	for _, o := range objects {
		keys = append(keys, o.(*v1alpha1.ApiKey))
	}
	slices.SortFunc(keys, func(a, b *v1alpha1.ApiKey) int {
		if c := b.CreationTimestamp.Compare(a.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(string(b.UID), string(a.UID))
	})
	return idsOf(keys, func(k *v1alpha1.ApiKey) string { return string(k.UID) })
}

// What goes, or comes, between two pages disturbs nothing else: not even where it was the cursor's own item.
func TestPagesWhileTheListingChanges(t *testing.T) {
	objects, plaintext := keysOfAges(t, rand.New(rand.NewPCG(1, 1)), 20)
	f := newFixture(t, objects)
	want := newestFirst(objects)
	first := decode[endpoint.Page[apiKey]](t, f.get(t, "/v1/api-keys?limit=8", plaintext))
	for _, o := range objects[1:] { // the first one is the caller
		if k := o.(*v1alpha1.ApiKey); string(k.UID) == first.Data[7].ID || string(k.UID) == first.Data[2].ID {
			f.index.RemoveKey(k)
		}
	}
	newer, _ := live(t, authntest.CreatedAt(now))
	f.index.PutKey(newer)
	rest := decode[endpoint.Page[apiKey]](t, f.get(t, "/v1/api-keys?cursor="+*first.NextCursor, plaintext))
	if diff := cmp.Diff(want[8:], idsOf(rest.Data, func(k apiKey) string { return k.ID })); diff != "" {
		t.Errorf("second page (-want +got):\n%s", diff)
	}
}

func TestLimitAndCursor(t *testing.T) {
	var objects []any
	var plaintext string
	for range 201 {
		var k *v1alpha1.ApiKey
		k, plaintext = live(t)
		objects = append(objects, k)
	}
	f := newFixture(t, objects)
	cursor := *decode[endpoint.Page[apiKey]](t, f.get(t, "/v1/api-keys?limit=1", plaintext)).NextCursor
	encode := base64.RawURLEncoding.EncodeToString

	for _, c := range []struct {
		reason, query string
		items         int    // of a success
		rule          string // of a refusal
	}{
		{"no limit: all of them", "", 201, ""},
		{"the least", "limit=1", 1, ""},
		{"the most", "limit=200", 200, ""},
		{"a cursor", "limit=200&cursor=" + cursor, 200, ""},
		{"an unknown one", "page=7&limit=2", 0, "page"},
		{"zero", "limit=0", 0, "limit"},
		{"one too many", "limit=201", 0, "limit"},
		{"negative", "limit=-1", 0, "limit"},
		{"empty", "limit=", 0, "limit"},
		{"not a number", "limit=ten", 0, "limit"},
		{"a fraction", "limit=1.5", 0, "limit"},
		{"with a sign", "limit=%2B5", 0, "limit"},
		{"overflow", "limit=18446744073709551617", 0, "limit"},
		{"an empty cursor", "cursor=", 0, "cursor"},
		{"not base64url", "cursor=***", 0, "cursor"},
		{"padded", "cursor=" + url.QueryEscape(cursor+"=="), 0, "cursor"},
		{"one character off", "cursor=" + cursor[1:], 0, "cursor"},
		{"no time", "cursor=" + encode([]byte("yesterday|x")), 0, "cursor"},
		{"no id", "cursor=" + encode([]byte("2026-01-01T00:00:00Z|")), 0, "cursor"},
		{"no bar", "cursor=" + encode([]byte("2026-01-01T00:00:00Z")), 0, "cursor"},
		{"a time not in UTC", "cursor=" + encode([]byte("2026-01-01T01:00:00+01:00|x")), 0, "cursor"},
		{"too long", "cursor=" + encode([]byte("2026-01-01T00:00:00Z|"+strings.Repeat("x", 500))), 0, "cursor"},
		{"a malformed query", "limit=%zz", 0, "query"},
	} {
		w := f.do(http.MethodGet, "/v1/api-keys?"+c.query, plaintext)
		if c.rule == "" {
			if n := len(decode[endpoint.Page[apiKey]](t, w.Body.String()).Data); w.Code != http.StatusOK || n != c.items {
				t.Errorf("%s: %d with %d items, want 200 with %d", c.reason, w.Code, n, c.items)
			}
			continue
		}
		if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Code != "validation_failed" || e.Rule != c.rule {
			t.Errorf("%s: %d %+v, want 400 validation_failed with rule %s", c.reason, w.Code, e, c.rule)
		}
	}
}

// TestListingsFromMemoryAreBoundedInBytes: a thousand keys with all the scopes that they may have would be several
// megabytes, and are asked for without a limit.
func TestListingsFromMemoryAreBoundedInBytes(t *testing.T) {
	var scopes []v1alpha1.Scope
	for i := range 32 {
		scopes = append(scopes, v1alpha1.Scope(fmt.Sprintf("%s%02d.example.com:%s", strings.Repeat("a", 30), i, strings.Repeat("b", 15))))
	}
	const keys = 1000
	var objects []any
	plaintext := ""
	for range keys {
		var k *v1alpha1.ApiKey
		k, plaintext = live(t, authntest.Scoped(scopes...))
		objects = append(objects, k)
	}
	f := newFixture(t, objects)
	seen, cursor := 0, ""
	for pages := 1; ; pages++ {
		body := f.get(t, "/v1/api-keys"+cursor, plaintext)
		p := decode[endpoint.Page[apiKey]](t, body)
		seen += len(p.Data)
		if len(p.Data[0].Scopes) != len(scopes) {
			t.Fatalf("a key has %d scopes", len(p.Data[0].Scopes))
		}
		if len(body) > store.PageBytes*5/4 || len(body) < store.PageBytes*3/4 && p.NextCursor != nil {
			t.Errorf("page %d has %d bytes", pages, len(body))
		}
		if p.NextCursor == nil {
			break
		}
		cursor = "?cursor=" + *p.NextCursor
	}
	if seen != keys {
		t.Errorf("the pages have %d of %d keys", seen, keys)
	}
}
