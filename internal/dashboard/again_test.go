// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/browser"
)

// loadsAgain is where a browser without scripts loads a page again.
var loadsAgain = regexp.MustCompile(
	`<noscript><meta http-equiv="refresh" content="\d+; url=/dashboard([^"]+)"></noscript>`,
)

// TestAskedAgain: pages that are left open ask for themselves, and keep nobody's session by it; whoever signs in again
// goes on at the page itself.
func TestAskedAgain(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.credential(t, acme, "ada", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
	token := w.token(t, acme, "ada", 6*time.Hour)
	ada := w.signedIn(t, token, acme)
	w.newKey(t, acme, "rotated")
	ada.post("/keys/rotated/rotate", ada.rotationForm("rotated", url.Values{"expiry": {"never"}, "way": {"cluster"}}))
	w.silentReplica(t)
	revoked := strings.TrimPrefix(ada.post("/keys/-/revoke", refs(w.newKey(t, acme, "waits"))).path, dashboard.Base)

	for _, path := range []string{ada.rotation("rotated"), revoked} {
		ada = w.signedIn(t, token, acme)
		found := loadsAgain.FindStringSubmatch(ada.get(path).body)
		if found == nil {
			t.Fatalf("%s is not loaded again\n%s", path, ada.get(path).body)
		}
		again := html.UnescapeString(found[1])
		for _, step := range []struct {
			by   time.Duration
			path string
			kept bool
		}{
			{store.SessionIdle - time.Minute, path, true}, // somebody looks at it
			{store.SessionIdle - time.Minute, again, true},
			{2 * time.Minute, again, false},
		} {
			w.clock.by.Add(int64(step.by))
			p := ada.get(step.path)
			over := "/dashboard/sign-in?" + url.Values{"ended": {"session"}, "next": {dashboard.Base + path}}.Encode()
			if kept := strings.Contains(p.body, ` data-refresh="`); kept != step.kept || !kept && p.path != over {
				t.Errorf("%s, %s later: %d at %s, want %s\n%s", step.path, step.by, p.status, p.path, over, p.body)
			}
		}
	}
}

// TestLeftOpen: in a browser, a page that asks for itself shows by itself that the session is over, and where somebody
// signs in, who goes on there.
func TestLeftOpen(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "ada", "letmepost-apikey-viewer", "letmepost-apikey-revoker")
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, w.signedIn(t, token, acme))
	w.silentReplica(t)
	path := strings.TrimPrefix(ada.post("/keys/-/revoke", refs(w.newKey(t, acme, "waits"))).path, dashboard.Base)
	ada.signIn(token, acme)
	ada.open(t, path+"&again=1") // as after something that the page could not show
	at, err := browser.Read[string](ada.tab, `location.href`)
	if check(t, err); at != ada.base+path {
		t.Errorf("the address is %s, want %s", at, ada.base+path)
	}
	ada.open(t, path) // which uses the session
	w.clock.by.Add(int64(store.SessionIdle - time.Minute))
	asked := func() int {
		n, err := browser.Read[int](ada.tab,
			`performance.getEntriesByType("resource").filter(e => e.initiatorType === "fetch").length`)
		check(t, err)
		return n
	}
	before := asked()
	// Of one that it had begun before the time went on, nothing follows.
	eventually(t, "the page has asked for itself", func() bool { return asked() >= before+2 })
	w.clock.by.Add(int64(2 * time.Minute))
	eventually(t, "the page for signing in is there", func() bool {
		there, err := browser.Read[bool](ada.tab, `document.querySelector("#token") !== null`)
		return err == nil && there
	})
	text, err := browser.Read[string](ada.tab, `document.querySelector("main").innerText`)
	if check(t, err); !strings.Contains(text, "Your session is over") {
		t.Errorf("%s", text)
	}
	check(t, chromedp.Do(ada.tab,
		chromedp.SetValue(chromedp.CSS("#token"), token), chromedp.Submit(chromedp.CSS("#token")),
		chromedp.WaitVisible(chromedp.CSS("#name")),
		chromedp.SetValue(chromedp.CSS("#name"), acme), chromedp.Submit(chromedp.CSS("#name")),
		chromedp.WaitVisible(chromedp.CSS("#live")),
	))
	if at, err = browser.Read[string](ada.tab, `location.href`); err != nil || at != ada.base+path {
		t.Errorf("they go on at %s: %v", at, err)
	}
}
