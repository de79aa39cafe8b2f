// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// ownForms change nothing of an organization's: whoever is signed in may send them.
var ownForms = []string{"/sign-out", "/organizations"}

// aim is a path of a screen with names in it that are there.
func (w *world) aim(t *testing.T, organization, path string) string {
	t.Helper()
	for _, of := range []struct{ room, name string }{
		{"/profiles/", "shop"}, {"/posts/", shownPost}, {"/accounts/", shownAccount}, {"/keys/", "website"},
	} {
		if strings.HasPrefix(path, of.room) {
			for _, parameter := range []string{"{name}", "{id}", "{key}"} {
				path = strings.ReplaceAll(path, parameter, of.name)
			}
		}
	}
	path = strings.ReplaceAll(path, "{platform}", "bluesky")
	return strings.ReplaceAll(path, "{$}", "")
}

// everything is all that an organization has, as text: what it is and how it stands.
func (w *world) everything(t *testing.T, organization string) string {
	t.Helper()
	var b strings.Builder
	var keys v1alpha1.ApiKeyList
	var profiles v1alpha1.ProfileList
	check(t, w.admin.List(t.Context(), &keys, client.InNamespace(organization)))
	check(t, w.admin.List(t.Context(), &profiles, client.InNamespace(organization)))
	for _, k := range keys.Items {
		fmt.Fprintln(&b, "key", k.Name, k.UID, k.DeletionTimestamp, k.Annotations)
	}
	for _, p := range profiles.Items {
		fmt.Fprintln(&b, "profile", p.Name, p.UID, p.DeletionTimestamp, p.Annotations)
	}
	view := w.reaching(t, organization)
	posts, _, err := view.Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 100})
	check(t, err)
	for _, p := range posts {
		fmt.Fprintln(&b, "post", p.ID, p.Status, p.AccountID)
	}
	accounts, _, err := view.Accounts(t.Context(), store.Page{Limit: 100})
	check(t, err)
	for _, a := range accounts {
		fmt.Fprintln(&b, "account", a.ID, a.UpdatedAt)
	}
	return b.String()
}

// TestCraftedForms goes through all screens that change something. Sent by whoever may only look, by somebody who is
// not signed in, and by another site in the name of somebody who may do all of it, none of them does.
func TestCraftedForms(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.furnish(t, acme)
	var profile v1alpha1.Profile
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: acme, Name: "shop"}, &profile))
	var keys v1alpha1.ApiKeyList
	check(t, w.admin.List(t.Context(), &keys, client.InNamespace(acme)))
	// What the forms ask for, as far as somebody knows who has seen them: of those that take none of it, it is not read.
	form := url.Values{
		"once": {newID()}, "uid": {string(profile.UID)}, "name": {"crafted"}, "environment": {"live"}, "way": {"once"},
		"identifier": {"crafted.example.com"}, "appPassword": {"abcd-efgh-ijkl-mnop"}, "confirm": {"yes"},
	}
	for _, k := range keys.Items {
		form.Add("key", k.Name+"."+string(k.UID))
	}
	viewer := w.signedIn(t, w.credential(t, acme, "viewer", "letmepost-apikey-viewer"), acme)
	w.right(t, acme, "viewer", read, "posts", "accounts", "media")
	form["form"], form["scope"], form["expiry"] = []string{viewer.openForm("/keys/-/new")}, []string{"posts:read"}, []string{"90"}
	owner, nobody := w.owner(t, acme), w.visitor(t)
	crossSite := func(v *visitor, path string) page { return v.send(http.MethodPost, path, form.Encode(), "cross-site") }

	before, tried := w.everything(t, acme), 0
	for _, s := range dashboard.Screens(w.dashboard) {
		if s.Method != http.MethodPost {
			continue
		}
		tried++
		path := w.aim(t, acme, s.Path)
		if p := crossSite(owner, path); p.status != http.StatusForbidden || !strings.Contains(p.body, "This came from another site") {
			t.Errorf("%s from another site: %d at %s", path, p.status, p.path)
		}
		if s.Anyone {
			continue
		}
		if p := nobody.post(path, form); !strings.HasPrefix(p.path, "/dashboard/sign-in") {
			t.Errorf("%s without a session: %d at %s", path, p.status, p.path)
		}
		if slices.Contains(ownForms, s.Path) {
			continue
		}
		of := profile.UID
		if strings.HasPrefix(path, "/keys/") {
			of = w.key(t, acme, "website").UID
		}
		form.Set("uid", string(of))
		if p := viewer.post(path, form); p.status != http.StatusForbidden {
			t.Errorf("%s by whoever may only look: %d at %s\n%s", path, p.status, p.path, p.body)
		}
		if after := w.everything(t, acme); after != before {
			t.Fatalf("%s has done something:\n%s\n%s", path, before, after)
		}
	}
	if tried < 5 {
		t.Errorf("only %d screens change anything", tried)
	}
}

// TestEveryField fills each field of each form with what is no answer to it: HTML, as much of it as a form may have,
// and more. It is answered, in bounds, and what was typed is never part of the page's own markup.
func TestEveryField(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.furnish(t, acme)
	owner := w.owner(t, acme)
	const tag = `"'><script>alert(1)</script>`
	tried := 0
	for _, s := range dashboard.Screens(w.dashboard) {
		if s.Method != http.MethodGet {
			continue
		}
		for _, text := range []string{tag, strings.Repeat(tag, 900), strings.Repeat(tag, 2600)} { // nearly 64 KB, once encoded, and more
			for _, f := range formsOf(t, owner.get(w.aim(t, acme, s.Path)).body) {
				for _, name := range f.fields {
					values := url.Values{}
					for n, v := range f.values {
						values[n] = v
					}
					values.Set(name, text)
					where := fmt.Sprintf("%s, %s of %s %s, %d bytes", s.Path, name, f.method, f.action, len(text))
					tried++
					var p page
					if f.method == http.MethodPost {
						p = owner.post(f.action, values)
					} else {
						p = owner.get(f.action + "?" + values.Encode())
					}
					if strings.Contains(p.body, "<script>alert") {
						t.Errorf("%s: it is on the page as it was typed", where)
					}
					if p.status >= http.StatusInternalServerError || strings.Contains(p.body, "⟦") {
						t.Errorf("%s: %d at %s", where, p.status, cutAt(p.path))
					}
					if len(p.body) > 1<<20 {
						t.Errorf("%s: the answer has %d bytes", where, len(p.body))
					}
					if f.method == http.MethodPost && len(text) > 64<<10 && p.status != http.StatusBadRequest {
						t.Errorf("%s: %d, and not that it is too long", where, p.status)
					}
				}
			}
		}
	}
	if tried < 30 {
		t.Errorf("only %d fields were filled in", tried)
	}
}

func cutAt(s string) string { return s[:min(len(s), 100)] }

// owner is somebody who may do everything in an organization.
func (w *world) owner(t *testing.T, organization string) *visitor {
	t.Helper()
	token := w.credential(t, organization, "owner",
		"letmepost-apikey-minter", "letmepost-apikey-revoker", "letmepost-profile-editor")
	w.right(t, organization, "owner", all, "posts", "accounts", "media")
	return w.signedIn(t, token, organization)
}

// form is one of a page.
type form struct {
	method, action string // below dashboard.Base
	values         url.Values
	fields         []string // that hold a text
}

// formsOf are the forms of a page, but for those that everybody has.
func formsOf(t *testing.T, body string) (forms []form) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	check(t, err)
	attribute := func(n *html.Node, name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	for n := range root.Descendants() {
		if n.Data != "form" {
			continue
		}
		f := form{strings.ToUpper(attribute(n, "method")), strings.TrimPrefix(attribute(n, "action"), dashboard.Base), url.Values{}, nil}
		for field := range n.Descendants() {
			name, kind := attribute(field, "name"), attribute(field, "type")
			if name == "" || !slices.Contains([]string{"input", "textarea", "select"}, field.Data) {
				continue
			}
			f.values.Set(name, attribute(field, "value"))
			if kind != "checkbox" && kind != "radio" {
				f.fields = append(f.fields, name)
			}
		}
		if !slices.Contains(ownForms, f.action) {
			forms = append(forms, f)
		}
	}
	return forms
}
