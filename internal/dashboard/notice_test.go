// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// sent is a form, as somebody has filled it in.
type sent struct {
	path string
	form url.Values
}

// answered is a screen that takes a form, and what of it is taken and what is not.
type answered struct {
	screen        string
	done, refused func() sent
	by            *visitor // nil: the owner
	quiet         string   // why nobody is told in words that it was done
}

// TestEachFormIsAnswered goes through all screens that take a form. Whoever has done something is told so, in a text
// that has the focus or in an element with the role status, and once; whoever is refused is told why, in an alert or in
// the description of the field that is to be mended. One of these has the focus.
func TestEachFormIsAnswered(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.furnish(t, acme)
	owner := w.owner(t, acme)
	forms := w.answered(t, acme, owner)
	for _, s := range dashboard.Screens(w.dashboard) {
		if s.Method == http.MethodPost && !slices.ContainsFunc(forms, func(f answered) bool { return f.screen == s.Path }) {
			t.Errorf("%s: nobody has said what one is told there", s.Path)
		}
	}
	for _, of := range forms { // in their order: some refuse what others have done
		by := of.by
		if by == nil {
			by = owner
		}
		if of.done != nil {
			f := of.done()
			p := by.post(f.path, f.form)
			if told := p.roles(t); told["status"] == "" || told["alert"] != "" || p.status >= http.StatusBadRequest {
				t.Errorf("%s was done: %d, %q\n%s", of.screen, p.status, told, p.body)
			}
			again := by.get(strings.TrimPrefix(p.path, dashboard.Base))
			if notice := p.notice(t); notice != "" && strings.Contains(again.body, notice) {
				t.Errorf("%s: loaded again, the page says %q once more", of.screen, notice)
			}
		} else if of.quiet == "" {
			t.Errorf("%s: what is one told?", of.screen)
		}
		if of.refused != nil {
			f := of.refused()
			p := by.post(f.path, f.form)
			told := p.roles(t)
			if told["alert"] == "" || told["status"] != "" {
				t.Errorf("%s was refused: %d, %q\n%s", of.screen, p.status, told, p.body)
			}
			if focus := told["focus"]; focus != "alert" && focus != "field" {
				t.Errorf("%s was refused, and %q has the focus\n%s", of.screen, focus, p.body)
			}
		}
	}
}

// roles are the texts of what tells of success (status) and of failure (alert), by a role, by having the focus or by
// describing the field that has it; and focus is what has the focus when the page is loaded: alert, status, field (that
// is to be mended), or other.
func (p page) roles(t *testing.T) map[string]string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(p.body))
	check(t, err)
	told, ids := map[string]string{}, map[string]string{}
	for n := range root.Descendants() {
		of := map[string]string{}
		for _, a := range n.Attr {
			of[a.Key] = a.Val
		}
		ids[of["id"]] = textOf(n)
		if role := of["role"]; role == "status" || role == "alert" {
			told[role] += textOf(n)
		}
		if _, ok := of["autofocus"]; !ok {
			continue
		}
		if told["focus"] != "" {
			t.Errorf("%s: the focus is given twice", p.path)
		}
		switch {
		case of["aria-invalid"] == "true":
			told["focus"] = "field"
			wrong, _, _ := strings.Cut(of["aria-describedby"], " ")
			told["alert"] += ids[wrong]
		case of["role"] != "":
			told["focus"] = of["role"]
		case of["tabindex"] == "-1":
			told["focus"], told["status"] = "status", told["status"]+textOf(n)
		default:
			told["focus"] = "other"
		}
	}
	return told
}

// notice is what a page says of what was done before.
func (p page) notice(t *testing.T) string {
	t.Helper()
	_, after, _ := strings.Cut(p.body, `<main id="main" tabindex="-1">`)
	_, after, found := strings.Cut(after, `<p class="notice good" tabindex="-1" autofocus>`)
	if !found {
		return ""
	}
	notice, _, _ := strings.Cut(after, "<")
	return notice
}

// textOf is what there is to read in an element.
func textOf(n *html.Node) (text string) {
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text += d.Data
		}
	}
	return strings.Join(strings.Fields(text), " ")
}

// answered are all screens that take a form.
func (w *world) answered(t *testing.T, acme string, owner *visitor) []answered {
	t.Helper()
	nobody, profile, key := w.visitor(t), new(v1alpha1.Profile), w.newKey(t, acme, "to-revoke")
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: acme, Name: "shop"}, profile))
	account := w.account(t, acme, "", "to-disconnect")
	queued := w.post(t, acme, account, "to cancel")
	once := func() url.Values { return url.Values{"once": {newID()}} }
	return []answered{
		{
			screen: "/sign-in", by: nobody, refused: func() sent { return sent{"/sign-in", url.Values{"token": {"nobody's"}}} },
			quiet: "the frame of every page has their name from then on",
		},
		{
			screen: "/handover/sign-in", by: nobody, refused: func() sent { return sent{"/handover/sign-in", url.Values{"code": {"used"}}} },
			quiet: "the frame of every page has their name from then on",
		},
		{screen: "/handover", quiet: "a program is answered, by JSON"},
		{
			screen: "/organizations", refused: func() sent { return sent{"/organizations", url.Values{"name": {"nobody-s"}}} },
			quiet: "the frame of every page has its name from then on",
		},
		{
			screen: "/keys/-/new",
			done:   func() sent { return sent{"/keys/-/new", owner.form("told", nil)} },
			refused: func() sent {
				return sent{"/keys/-/new", owner.form("Not A Name", url.Values{"window": {"always"}})}
			},
		},
		{
			screen: "/keys/{name}/have-it",
			done: func() sent {
				return sent{"/keys/had/have-it", owner.post("/keys/-/new", owner.form("had", nil)).fields()}
			},
			refused: func() sent { return sent{"/keys/had/have-it", url.Values{"uid": {string(key.UID)}}} },
		},
		{
			screen:  "/keys/{name}/rotate",
			done:    func() sent { return sent{"/keys/told/rotate", owner.rotationForm("told", nil)} },
			refused: func() sent { return sent{"/keys/had/rotate", owner.rotationForm("had", url.Values{"name": {""}})} },
		},
		{
			screen: "/keys/-/revoke",
			done: func() sent {
				f := refs(key)
				f.Set("cancel", "1")
				return sent{"/keys/-/revoke", f}
			},
			refused: func() sent { return sent{"/keys/-/revoke", nil} },
		},
		{
			screen:  "/posts/{id}/cancel",
			done:    func() sent { return sent{"/posts/" + queued.ID + "/cancel", once()} },
			refused: func() sent { return sent{"/posts/" + shownPost + "/cancel", once()} },
		},
		{
			screen:  "/posts/{id}/retry",
			done:    func() sent { return sent{"/posts/" + shownPost + "/retry", once()} },
			refused: func() sent { return sent{"/posts/" + shownPost + "/retry", once()} },
		},
		{
			screen: "/accounts/-/connect/{platform}",
			done: func() sent {
				return sent{"/accounts/-/connect/bluesky", url.Values{
					"once": {newID()}, "field.identifier": {"alice.test"}, "field.appPassword": {"abcd"},
				}}
			},
			refused: func() sent { return sent{"/accounts/-/connect/bluesky", once()} },
		},
		{
			screen:  "/accounts/{id}/disconnect",
			done:    func() sent { return sent{"/accounts/" + account.ID + "/disconnect", once()} },
			refused: func() sent { return sent{"/accounts/" + account.ID + "/disconnect", once()} },
		},
		{
			screen:  "/profiles/-/new",
			done:    func() sent { return sent{"/profiles/-/new", url.Values{"name": {"told"}}} },
			refused: func() sent { return sent{"/profiles/-/new", url.Values{"name": {"told"}, "requests": {"many"}}} },
		},
		{
			screen:  "/profiles/{name}/delete",
			done:    func() sent { return sent{"/profiles/shop/delete", url.Values{"uid": {string(profile.UID)}}} },
			refused: func() sent { return sent{"/profiles/shop/delete", nil} },
		},
		{screen: "/sign-out", done: func() sent { return sent{"/sign-out", nil} }}, // which nobody is refused
	}
}
