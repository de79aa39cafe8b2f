// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestNoticesOfAPlatform: what everybody with an account of a platform should know stands on each of its accounts, and
// once above the list.
func TestNoticesOfAPlatform(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	viewer := w.member(t, acme, "viewer", read, "accounts")
	said := []platform.Warning{{Code: "linkedin.soon", Message: "LinkedIn is <b>about</b> to go."}}
	of := slices.IndexFunc(w.platforms, func(p platform.Platform) bool { return p.Name == linkedin.Name })
	w.platforms[of].Notices = func() []platform.Warning { return said }
	const shown = "LinkedIn is &lt;b&gt;about&lt;/b&gt; to go."

	other := w.account(t, acme, "", "alice")
	viewer.get("/accounts").shows(t, http.StatusOK, []string{"alice"}, []string{shown})
	ofLinkedIn := func(a *store.Account) { a.Platform = linkedin.Name }
	one := w.account(t, acme, "", "bob", ofLinkedIn)
	w.account(t, acme, "", "carol", ofLinkedIn)
	list := viewer.get("/accounts")
	list.shows(t, http.StatusOK, []string{"carol", shown, "linkedin.soon"}, nil)
	if n := strings.Count(list.body, shown); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	viewer.get("/accounts/"+one.ID).shows(t, http.StatusOK, []string{shown, "linkedin.soon"}, nil)
	viewer.get("/accounts/"+other.ID).shows(t, http.StatusOK, []string{"alice"}, []string{shown})
	said = nil
	viewer.get("/accounts").shows(t, http.StatusOK, []string{"carol"}, []string{shown, "linkedin.soon"})
}

// notProse are what people don't read as text: tags with what stands in them, and code.
var notProse = regexp.MustCompile(`(?s)<code.*?</code>|<[^>]*>`)

// TestPlatformsHaveTitles: no page calls a platform by its id.
func TestPlatformsHaveTitles(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.furnish(t, acme)
	owner := w.owner(t, acme)
	titles := 0
	for _, s := range dashboard.Screens(w.dashboard) {
		if s.Method != http.MethodGet || s.Anyone {
			continue
		}
		path, ok := examples[s.Path]
		if !ok {
			path = strings.ReplaceAll(s.Path, "{$}", "")
		}
		text := notProse.ReplaceAllString(owner.get(path).body, " ")
		for _, p := range w.platforms {
			if slices.Contains(strings.Fields(text), string(p.Name)) || strings.Contains(text, "("+string(p.Name)+")") {
				t.Errorf("%s says %s", path, p.Name)
			}
			titles += strings.Count(text, p.Title)
		}
	}
	if titles == 0 {
		t.Error("no page names any platform")
	}
}

// TestAccounts: each says how it stands and what to do; to disconnect one cancels what is queued for it, which is told
// first.
func TestAccounts(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t)
	editor := w.member(t, acme, "editor", all, "accounts", "posts")
	viewer := w.member(t, acme, "viewer", read, "accounts")
	nobody := w.member(t, acme, "nobody", nil)
	stranger := w.member(t, globex, "stranger", all, "accounts", "posts")

	editor.get("/accounts").shows(t, http.StatusOK, []string{"No accounts yet"}, nil)
	nobody.get("/accounts").shows(t, http.StatusForbidden, []string{"list accounts.letmepost.dev"}, nil)
	const profile = "b0000000-0000-4000-8000-000000000001"
	a := w.account(t, acme, "", "al<b>ice")
	soon := w.account(t, acme, profile, "bob", func(a *store.Account) { a.TokenExpiresAt = time.Now().Add(48 * time.Hour) })
	lost := w.account(t, acme, "", "carol")
	c, err := w.store.Work().Connection(t.Context(), lost.ID)
	check(t, err)
	_, err = w.store.Work().RequireReconnect(t.Context(), lost.ID, c.Version, platform.Failure{
		Code: platform.CodeAuthFailed, Message: "It was <i>revoked</i>.", Rule: "bluesky.session",
	})
	check(t, err)
	one, two := w.post(t, acme, a, "one"), w.post(t, acme, a, "two")

	viewer.get("/accounts").shows(t, http.StatusOK,
		[]string{"al&lt;b&gt;ice", ">active<", ">expiring<", ">connect again<"}, []string{"al<b>ice"})
	viewer.get("/accounts?profile="+profile).shows(t, http.StatusOK, []string{"bob"}, []string{"ice<", "carol"})
	viewer.get("/accounts?profile=%00").shows(t, http.StatusOK, []string{"No account belongs"}, []string{"carol"})
	stranger.get("/accounts").shows(t, http.StatusOK, []string{"No accounts yet"}, []string{"carol"})

	viewer.get("/accounts/"+lost.ID).shows(t, http.StatusOK,
		[]string{"Connect it again; it keeps its id", "It was &lt;i&gt;revoked", "bluesky.session"}, []string{"Disconnect…"})
	viewer.get("/accounts/"+soon.ID).shows(t, http.StatusOK, []string{"Connect it again before", "You may not see them."}, nil)
	stranger.get("/accounts/"+lost.ID).shows(t, http.StatusNotFound, nil, []string{"carol"})
	editor.get("/accounts/"+a.ID).shows(t, http.StatusOK, []string{"Disconnect…", "2 queued", "does not end"}, nil)
	viewer.get("/accounts/"+a.ID+"/disconnect").shows(t, http.StatusForbidden, nil, []string{"<form method=\"post\" action=\"/dashboard/accounts"})

	p := editor.get("/accounts/" + a.ID + "/disconnect")
	p.shows(t, http.StatusOK, []string{"Posts that are queued for it: 2"}, nil)
	form := url.Values{"once": {p.once(t)}}
	stranger.post("/accounts/"+a.ID+"/disconnect", form).shows(t, http.StatusNotFound, nil, nil)
	if _, err := w.reaching(t, acme).Account(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // sent twice, done once
		editor.post("/accounts/"+a.ID+"/disconnect", form).shows(t, http.StatusOK, []string{"The account is disconnected"}, []string{"ice<"})
	}
	for _, of := range []store.Post{one, two} {
		post, err := w.reaching(t, acme).Post(t.Context(), of.ID)
		if err != nil || post.Status != store.Canceled || post.AccountID != "" {
			t.Errorf("%+v %v", post, err)
		}
	}
	editor.get("/posts/"+one.ID).shows(t, http.StatusOK, []string{"It is disconnected."}, []string{"Try again now"})

	const gone = "/accounts/-/disconnected"
	editor.get(gone).shows(t, http.StatusOK, []string{"al&lt;b&gt;ice", `connect/bluesky?profile="`}, []string{"carol", "al<b>ice"})
	viewer.get(gone).shows(t, http.StatusOK, []string{"al&lt;b&gt;ice"}, []string{"connect/bluesky"})
	nobody.get(gone).shows(t, http.StatusForbidden, nil, []string{"al&lt;"})
	stranger.get(gone).shows(t, http.StatusOK, []string{"None was disconnected"}, []string{"al&lt;"})
}
