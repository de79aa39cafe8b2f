// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// used is when keys were used last, by UID.
type used map[string]time.Time

func (u used) LastUsed(_ context.Context, _ *caller.Caller, ids ...string) (map[string]time.Time, error) {
	last := map[string]time.Time{}
	for id, at := range u {
		if len(ids) == 0 || slices.Contains(ids, id) {
			last[id] = at
		}
	}
	return last, nil
}

func (u used) Of(_ context.Context, _ *caller.Caller, id string) (use.Series, error) {
	now := time.Now().UTC()
	s := use.Series{LastUsedAt: u[id], Hours: make([]use.Period, 24), Days: make([]use.Period, 30)}
	for i := range s.Hours {
		s.Hours[i].Begins = now.Truncate(time.Hour).Add(time.Duration(i-23) * time.Hour)
	}
	for i := range s.Days {
		s.Days[i].Begins = now.Truncate(24*time.Hour).AddDate(0, 0, i-29)
	}
	if _, ok := u[id]; ok {
		s.LastHour = use.Count{Requests: 7, Refused: 3}
		s.Hours[23].Count, s.Hours[20].Count = use.Count{Requests: 7, Refused: 3}, use.Count{Requests: 70_000}
		s.Days[29].Count, s.Days[3].Count = use.Count{Requests: 70_007, Refused: 3}, use.Count{Requests: 1}
		s.Replicas = []use.Replica{{Name: "letmepost-api-live-one (pod-one)", LastUsedAt: u[id]}}
	}
	return s, nil
}

// keyLink is the name of a key in a row.
var keyLink = regexp.MustCompile(`<th scope="row"><a href="/dashboard/keys/([^"]+)">`)

func (p page) keys() (names []string) {
	for _, m := range keyLink.FindAllStringSubmatch(p.body, -1) {
		names = append(names, m[1])
	}
	return names
}

func (w *world) organizationID(t *testing.T, name string) string {
	t.Helper()
	var n corev1.Namespace
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Name: name}, &n))
	return string(n.UID)
}

// furnishKeys makes keys in a namespace, as people do, and waits until the dashboard knows them.
func (w *world) furnishKeys(t *testing.T, namespace string) {
	t.Helper()
	check(t, w.admin.Create(t.Context(), &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}))
	for i, name := range []string{"website", "nightly-report", "ci"} {
		k := &v1alpha1.ApiKey{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:]},
		}
		switch i {
		case 1:
			k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: "shop"}
			k.Spec.ExpiresAt = new(metav1.NewTime(time.Now().AddDate(0, 0, 20).Truncate(time.Second)))
		case 2:
			k.Spec.Environment, k.Spec.Scopes = v1alpha1.EnvironmentTest, []v1alpha1.Scope{v1alpha1.ScopePostsRead}
		}
		check(t, w.admin.Create(t.Context(), k))
	}
	o := caller.Caller{Organization: caller.Organization{ID: w.organizationID(t, namespace), Name: namespace}}
	eventually(t, "the keys are minted", func() bool { return len(w.index.Keys(&o)) == 3 })
	query := url.Values{"organization": {o.Organization.ID}}
	for _, k := range w.index.Keys(&o) {
		query.Add("key", k.Name()+"."+string(k.ID()))
	}
	examples["/keys/{name}"] = "/keys/website"
	examples["/keys/-/revoke"] = "/keys/-/revoke?" + query.Encode()
	examples["/keys/-/revoked"] = "/keys/-/revoked?" + query.Encode()
	w.pods(t, namespace, "website")
}

// TestKeysList: what is searched for, filtered and sorted by, on the server and in the URL alone.
func TestKeysList(t *testing.T) {
	index, uses := authn.NewIndex(), used{}
	w := newWorld(t, func(c *dashboard.Config) { c.Directory, c.Use = index, uses })
	acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t)
	token := w.credential(t, acme, "viewer", "letmepost-apikey-viewer")
	v := w.signedIn(t, token, acme)

	if p := v.get("/keys"); p.status != http.StatusOK || !strings.Contains(p.body, "There are no keys in this organization") ||
		strings.Contains(p.body, "Mint a key") {
		t.Errorf("an organization without keys, of somebody who may not mint: %d\n%s", p.status, p.body)
	}
	now, format := time.Now(), authntest.Format(t)
	in := authntest.In(acme, w.organizationID(t, acme))
	ours := func(p *v1alpha1.Profile) { p.Namespace, p.Status.OrganizationID = acme, w.organizationID(t, acme) }
	shop := authntest.Profile(ours, func(p *v1alpha1.Profile) { p.Name = "shop" })
	blog := authntest.Profile(ours, func(p *v1alpha1.Profile) { p.Name = "blog" })
	index.PutProfile(shop)
	put := func(name string, e key.Environment, days int, mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
		mods = append([]func(*v1alpha1.ApiKey){
			in, authntest.Named(name), authntest.CreatedAt(now.AddDate(0, 0, -days).Truncate(time.Second)),
		}, mods...)
		k, _ := authntest.Minted(t, format, e, mods...)
		index.PutKey(k)
		return k
	}
	put("alpha", key.Live, 1)
	bravo := put("bravo", key.Live, 2, authntest.PinnedTo(shop), authntest.ExpiringAt(now.AddDate(0, 0, 10)))
	put("charlie", key.Test, 3, authntest.Scoped(v1alpha1.ScopePostsRead))
	put("delta", key.Live, 4, authntest.PinnedTo(blog))
	put("echo", key.Live, 5, authntest.ExpiringAt(now.AddDate(0, 0, -1)))
	put("foxtrot", key.Live, 6, authntest.Deleting)
	golf := put("golf", key.Live, 7, authntest.ExpiringAt(now.AddDate(1, 0, 0)))
	put("theirs", key.Live, 0, authntest.In(globex, w.organizationID(t, globex)))
	uses[string(bravo.UID)], uses[string(golf.UID)] = now.Add(-time.Hour), now.Add(-2*time.Hour)

	for _, tc := range []struct{ query, want string }{
		{"", "alpha bravo charlie delta echo foxtrot golf"},
		{"q=a", "alpha bravo charlie delta"},
		{"q=+SHO+", "bravo"},
		{"q=" + url.QueryEscape(bravo.Status.Hint), "bravo"},
		{"q=nothing", ""},
		{"environment=test", "charlie"},
		{"profile=shop", "bravo"},
		{"profile=-", "alpha charlie echo foxtrot golf"},
		{"profile=none", ""},
		{"state=active", "alpha bravo charlie golf"},
		{"state=expired", "echo"},
		{"state=profile-gone", "delta"},
		{"state=revoking", "foxtrot"},
		{"state=duplicate", ""},
		{"unused=1", "alpha charlie delta echo foxtrot"},
		{"endless=1", "alpha charlie delta foxtrot"},
		{"ending=1", "bravo"},
		{"unused=1&endless=1&state=active", "alpha charlie"},
		{"sort=name", "alpha bravo charlie delta echo foxtrot golf"},
		{"sort=-name", "golf foxtrot echo delta charlie bravo alpha"},
		{"sort=created", "golf foxtrot echo delta charlie bravo alpha"},
		{"sort=expires", "echo bravo golf alpha charlie delta foxtrot"},
		{"sort=-used", "bravo golf alpha charlie delta echo foxtrot"},
		{"sort=environment", "alpha bravo delta echo foxtrot golf charlie"},
		{"sort=-profile", "bravo alpha charlie delta echo foxtrot golf"},
		{"sort=hint&state=odd&environment=odd&page=-3", "alpha bravo charlie delta echo foxtrot golf"},
		{"page=99", "alpha bravo charlie delta echo foxtrot golf"},
	} {
		p := v.get("/keys?" + tc.query)
		if got := strings.Join(p.keys(), " "); p.status != http.StatusOK || got != tc.want || strings.Contains(p.body, "⟦") {
			t.Errorf("?%s: %d, %q, want %q", tc.query, p.status, got, tc.want)
		}
		if strings.Contains(p.body, "theirs") || strings.Contains(p.body, `type="checkbox" name="key"`) {
			t.Errorf("?%s: keys of others, or boxes for somebody who may not revoke\n%s", tc.query, p.body)
		}
	}
	_, plaintext := authntest.Minted(t, format, key.Live)
	if p := v.get("/keys?q=" + plaintext); strings.Contains(p.path+p.body, plaintext) || len(p.keys()) != 0 {
		t.Errorf("a key that was pasted stays at %s\n%s", p.path, p.body)
	}
	p := v.get("/keys?sort=name")
	for _, said := range []string{
		`aria-sort="ascending"`, "sort=-name", bravo.Status.Hint, "in 9 days", "1 hour ago", "not known here", "posts:read",
		"the profile that it is pinned to is deleted", "7 in this organization",
	} {
		if !strings.Contains(p.body, said) {
			t.Errorf("the list does not say %q\n%s", said, p.body)
		}
	}

	t.Run("not minted", func(t *testing.T) {
		for name, profile := range map[string]string{"waiting": "nowhere", "waiting-too": "nowhere"} {
			check(t, w.admin.Create(t.Context(), &v1alpha1.ApiKey{
				ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: name},
				Spec: v1alpha1.ApiKeySpec{
					Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:],
					ProfileRef: &v1alpha1.ProfileReference{Name: profile},
				},
			}))
		}
		var p page
		eventually(t, "the controller says why", func() bool {
			p = v.get("/keys?state=pending&sort=name")
			return strings.Count(p.body, "Profile nowhere") >= 2
		})
		if got := strings.Join(p.keys(), " "); got != "waiting waiting-too" || strings.Contains(p.body, "so not in this list") {
			t.Errorf("%q\n%s", got, p.body)
		}
	})
	t.Run("many not minted", func(t *testing.T) {
		// As many as the apiserver is asked for at once, and some more; this replica knows none of them, or too many others.
		large := w.cluster.Namespace(t)
		put("theirs", key.Live, 0, authntest.In(large, w.organizationID(t, large)))
		looker := "system:serviceaccount:" + large + ":looker"
		for i := range 203 {
			k := &v1alpha1.ApiKey{
				ObjectMeta: metav1.ObjectMeta{Namespace: large, Name: fmt.Sprintf("waiting-%03d", i)},
				Spec: v1alpha1.ApiKeySpec{
					Environment: v1alpha1.EnvironmentLive, ProfileRef: &v1alpha1.ProfileReference{Name: "nowhere"},
				},
			}
			if i == 202 {
				k.Labels = map[string]string{v1alpha1.LabelShownTo: dashboard.ShownTo(looker)}
			}
			check(t, w.admin.Create(t.Context(), k))
		}
		v := w.signedIn(t, w.credential(t, large, "looker", "letmepost-apikey-viewer"), large)
		// 200 of them are listed. The one that is minted is no object of this cluster.
		p := v.get("/keys")
		if !strings.Contains(p.body, "201 in this organization") || !strings.Contains(p.body, "not in this list: 2.") {
			t.Errorf("%d\n%s", p.status, p.body)
		}
		if !strings.Contains(p.body, "/keys/waiting-202") {
			t.Errorf("the key that they may have lost, which is not listed, is not told of:\n%s", p.body)
		}
		for i := range 200 {
			put(fmt.Sprint("theirs-", i), key.Live, 0, authntest.In(large, w.organizationID(t, large)))
		}
		if p := v.get("/keys"); !strings.Contains(p.body, "201 in this organization") || !strings.Contains(p.body, "not in this list: 2.") {
			t.Errorf("%d\n%s", p.status, p.body)
		}
	})
	t.Run("ten thousand", func(t *testing.T) {
		for i := range 10_000 {
			k := authntest.Resource(format, i, fmt.Sprint(i))
			in(k)
			k.UID = types.UID(fmt.Sprintf("%08x-1111-4000-8000-000000000000", i))
			index.PutKey(k)
		}
		first := v.get("/keys?q=some-backend&sort=name")
		if got := first.keys(); len(got) != 25 || got[0] != "some-backend-0" || !strings.Contains(first.body, "10000 of 10007") {
			t.Fatalf("%d keys: %v\n%s", len(got), got, first.body)
		}
		seen, pages := map[string]bool{}, 0
		for next := "/keys?q=some-backend&sort=name&page=398"; next != ""; pages++ {
			p := v.get(next)
			for _, name := range p.keys() {
				seen[name] = true
			}
			m := regexp.MustCompile(`href="/dashboard([^"]+)" rel="next"`).FindStringSubmatch(p.body)
			if next = ""; m != nil {
				next = strings.ReplaceAll(m[1], "&amp;", "&")
			}
		}
		if len(seen) != 75 || pages != 3 {
			t.Errorf("%d keys on %d pages", len(seen), pages)
		}
		w.listsInABrowser(t, v, token, acme)
	})

	t.Run("who may mint and revoke", func(t *testing.T) {
		token := w.credential(t, acme, "editor", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
		editor := w.signedIn(t, token, acme)
		p := editor.get("/keys?q=bravo")
		if !strings.Contains(p.body, `href="/dashboard/keys/-/new"`) ||
			!strings.Contains(p.body, `name="key" value="bravo.`+string(bravo.UID)+`"`) {
			t.Errorf("%d\n%s", p.status, p.body)
		}
		if p := editor.post("/keys/-/new", editor.form("perhaps-lost", nil)); p.status != http.StatusCreated {
			t.Fatalf("%d\n%s", p.status, p.body)
		}
		if p := editor.get("/keys?q=bravo"); !strings.Contains(p.body, "Do you have these keys?") || !strings.Contains(p.body, ">perhaps-lost<") {
			t.Errorf("a key that may be lost is not told of among many:\n%s", p.body)
		}
	})
	t.Run("who may not look any more", func(t *testing.T) {
		v := w.signedIn(t, w.credential(t, globex, "leaver", "letmepost-apikey-viewer"), globex)
		if p := v.get("/keys"); strings.Join(p.keys(), " ") != "theirs" {
			t.Fatalf("%d\n%s", p.status, p.body)
		}
		check(t, w.admin.Delete(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: globex, Name: "leaver-letmepost-apikey-viewer"},
		}))
		eventually(t, "the list is refused", func() bool { return v.get("/keys").status == http.StatusForbidden })
		if p := v.get("/keys"); strings.Contains(p.body, "theirs") || !strings.Contains(p.body, "cannot list resource") {
			t.Errorf("%d\n%s", p.status, p.body)
		}
	})
	t.Run("HTML and 64 KB", func(t *testing.T) {
		for _, text := range []string{`"><script>alert(1)</script>`, strings.Repeat("é<b>", 16<<10), "\x00\xff\n"} {
			for _, name := range []string{"q", "state", "environment", "profile", "unused", "sort", "page"} {
				p := v.get("/keys?" + url.Values{name: {text}}.Encode())
				if p.status != http.StatusOK || strings.Contains(p.body, "<script>alert") || strings.Contains(p.body, "<b>") ||
					len(p.body) > 64<<10 {
					t.Errorf("%s: %d, %d bytes", name, p.status, len(p.body))
				}
			}
		}
	})
}
