// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func TestFiltersOfPosts(t *testing.T) { onBoth(t, filtersOfPosts) }

func filtersOfPosts(t *testing.T) {
	t.Helper()
	brand := authntest.Profile()
	f := newFixture(t, []any{brand})
	key, pinned := f.newKey(t), f.newKey(t, authntest.PinnedTo(brand))
	blue, linked := f.connect(t, key), f.connectTo(t, key, "linkedin", "bob")
	ids := map[string]string{}
	add := func(name, id string) {
		ids[id] = name
		f.clock.SetTime(f.clock.Now().Add(time.Minute))
	}
	add("blue", f.publish(t, key, blue, "Hello World").Results[0].PostID)
	add("linked", f.publish(t, key, linked, "100% wörk_done").Results[0].PostID)
	add("rejected", f.publish(t, key, blue, "sandbox:rejected").Results[0].PostID)
	add("failed", f.publish(t, key, linked, "sandbox:unavailable").Results[0].PostID)
	add("queued", f.schedule(t, key, blue, ""))
	add("pinned", f.publish(t, pinned, f.connect(t, pinned), "hello too").Results[0].PostID)
	minute := func(n int) string {
		return url.QueryEscape(now.Add(time.Duration(n) * time.Minute).Format(time.RFC3339))
	}
	for _, c := range []struct {
		reason, query string
		want          []string
	}{
		{"none: newest first", "", []string{"pinned", "queued", "failed", "rejected", "linked", "blue"}},
		{"platform", "platform=linkedin", []string{"failed", "linked"}},
		{"platforms", "platform=linkedin,bluesky", []string{"pinned", "queued", "failed", "rejected", "linked", "blue"}},
		{"a platform of the reference that is none here", "platform=twitter", nil},
		{"and one that is", "platform=twitter&platform=linkedin", []string{"failed", "linked"}},
		{"all platforms of the reference", "platform=bluesky,facebook,instagram,linkedin,pinterest,threads,tiktok,twitter&status=queued", []string{"queued"}},
		{"status", "status=queued", []string{"queued"}},
		{"statuses, repeated", "status=queued&status=failed", []string{"queued", "failed"}},
		{"a status that no post has", "status=validated", nil},
		{"error code", "errorCode=platform_rejected", []string{"rejected"}},
		{"error codes", "errorCode=platform_rejected,platform_unavailable", []string{"failed", "rejected"}},
		{"an error code unheard of", "errorCode=x", nil},
		{"text", "q=hello", []string{"pinned", "blue"}},
		{"text, in capitals", "q=HELLO+w", []string{"blue"}},
		{"no wildcards", "q=%25", []string{"linked"}},
		{"no wildcards either", "q=_", []string{"linked"}},
		{"empty text is none", "q=&status=queued", []string{"queued"}},
		{"after, inclusive", "after=" + minute(4), []string{"pinned", "queued"}},
		{"before, exclusive", "before=" + minute(1), []string{"blue"}},
		{"before all time", "before=0001-01-01T00:00:00Z", nil},
		{"before all time, elsewhere", "before=" + url.QueryEscape("0001-01-01T01:00:00+01:00"), nil},
		{"after the beginning of time", "after=0001-01-01T00:00:00Z&status=queued", []string{"queued"}},
		{"between", "after=" + minute(1) + "&before=" + minute(3), []string{"rejected", "linked"}},
		{"profile", "profileId=" + string(brand.UID), []string{"pinned"}},
		{"several", "platform=bluesky&status=published&q=hello", []string{"pinned", "blue"}},
	} {
		var got []string
		for _, p := range decode[endpoint.Page[post]](t, f.get(t, "/v1/posts?"+c.query, key)).Data {
			got = append(got, ids[p.ID])
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
	if got := decode[endpoint.Page[post]](t, f.get(t, "/v1/posts", pinned)).Data; len(got) != 1 || ids[got[0].ID] != "pinned" || *got[0].ProfileID != string(brand.UID) {
		t.Errorf("the pinned key sees %+v", got)
	}
}

// Whatever the limits, the pages make up the listing, though all was made at the same instant.
func TestPagesOfTheDatabase(t *testing.T) { onBoth(t, pagesOfTheDatabase) }

func pagesOfTheDatabase(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	for range 7 {
		account := f.connect(t, key)
		f.upload(t, key)
		f.schedule(t, key, account, "")
	}
	for _, path := range []string{"/v1/posts", "/v1/media", "/v1/accounts"} {
		all := decode[endpoint.Page[listed]](t, f.get(t, path, key))
		want := idsOf(all.Data, func(l listed) string { return l.ID })
		if len(want) != 7 || all.NextCursor != nil {
			t.Fatalf("%s: %d items", path, len(want))
		}
		if sorted := slices.Clone(want); path != "/v1/media" {
			slices.Sort(sorted)
			slices.Reverse(sorted)
			if !slices.Equal(sorted, want) {
				t.Errorf("%s: not the newest first", path)
			}
		}
		for limit := 1; limit <= 7; limit++ {
			var got []string
			for target := fmt.Sprintf("%s?limit=%d", path, limit); target != ""; {
				p := decode[endpoint.Page[listed]](t, f.get(t, target, key))
				got = append(got, idsOf(p.Data, func(l listed) string { return l.ID })...)
				target = ""
				if p.NextCursor != nil {
					target = fmt.Sprintf("%s?limit=%d&cursor=%s", path, limit, *p.NextCursor)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, by %d (-want +got):\n%s", path, limit, diff)
			}
		}
	}
}

// Accounts, keys and profiles are listed whole, up to 1000: the reference's clients know of no second page. What is
// beyond is told by nextCursor.
func TestWholeListings(t *testing.T) {
	const most = 1000
	k, plaintext := live(t)
	objects := []any{k}
	for range most - 1 {
		another, _ := live(t)
		objects = append(objects, another, authntest.Profile())
	}
	objects = append(objects, authntest.Profile())
	f := newFixture(t, objects)
	view := f.config.Store.View(f.admitted(t, plaintext))
	connect := func(n int) {
		check(t, view.Write(t.Context(), func(tx *store.Tx) error {
			for range n {
				a := store.Account{ID: newID(), Platform: "bluesky", PlatformAccountID: newID(), CreatedAt: now}
				if _, _, err := tx.PutAccount(a); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	connect(most)
	listed := func(path, query string) endpoint.Page[listed] {
		return decode[endpoint.Page[listed]](t, f.get(t, path+query, plaintext))
	}
	paths := []string{"/v1/accounts", "/v1/api-keys", "/v1/profiles"}
	for _, path := range paths {
		if p := listed(path, ""); len(p.Data) != most || p.NextCursor != nil {
			t.Errorf("%s: %d items of %d, nextCursor %v", path, len(p.Data), most, p.NextCursor)
		}
	}
	connect(1)
	another, _ := live(t)
	f.index.PutKey(another)
	f.index.PutProfile(authntest.Profile())
	for _, path := range paths {
		first := listed(path, "")
		if len(first.Data) != most || first.NextCursor == nil {
			t.Fatalf("%s: %d items of %d, nextCursor %v", path, len(first.Data), most+1, first.NextCursor)
		}
		if rest := listed(path, "?cursor="+*first.NextCursor); len(rest.Data) != 1 || rest.NextCursor != nil {
			t.Errorf("%s: %d items on the second page, nextCursor %v", path, len(rest.Data), rest.NextCursor)
		}
	}
}

// What is made without a profileId belongs to the key's profile, else to the one named default, else to the
// organization alone.
func TestWhoseNewThingsAre(t *testing.T) {
	brand := authntest.Profile()
	byDefault := authntest.Profile(func(p *v1alpha1.Profile) { p.Name = "default" })
	for _, c := range []struct {
		reason  string
		objects []any
		pinned  bool
		named   string
		want    string
	}{
		{"the organization alone", []any{brand}, false, "", ""},
		{"default", []any{brand, byDefault}, false, "", string(byDefault.UID)},
		{"the key's own", []any{brand, byDefault}, true, "", string(brand.UID)},
		{"named", []any{brand, byDefault}, false, string(brand.UID), string(brand.UID)},
		{"named, and the key's own", []any{brand, byDefault}, true, string(brand.UID), string(brand.UID)},
	} {
		f := newFixture(t, c.objects)
		key := f.newKey(t)
		if c.pinned {
			key = f.newKey(t, authntest.PinnedTo(brand))
		}
		s, in := uploadOf(key, picture(t, 3)), map[string]string{"identifier": "a.test", "appPassword": "x"}
		if c.named != "" {
			s.target += "?profileId=" + c.named
			in["profileId"] = c.named
		}
		m := ok[medium](t, f, s)
		a := ok[account](t, f, sent{method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key, body: jsonOf(in)})
		p := f.getPost(t, key, f.schedule(t, key, a.ID, ""))
		for what, got := range map[string]*string{"medium": m.ProfileID, "account": a.ProfileID, "post": p.ProfileID} {
			if (got == nil) != (c.want == "") || got != nil && *got != c.want {
				t.Errorf("%s: the %s belongs to %v, want %q", c.reason, what, got, c.want)
			}
		}
	}
}
