// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	navigation "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/test/browser"
)

// TestMintInABrowser: a real browser shows a key once, whether pages may run scripts there or not: neither the way back
// nor another tab shows it again, and there is no other key.
func TestMintInABrowser(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "ada", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	t.Cleanup(cancel)
	chromium, err := browser.Start(ctx, chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, w.signedIn(t, token, acme))
	ada.signIn(token, acme)
	for _, name := range []string{"with-scripts", "without"} {
		_, err := chromedp.Call(ada.tab, emulation.SetScriptExecutionDisabled,
			emulation.SetScriptExecutionDisabledParams{Value: name == "without"})
		check(t, err)
		check(t, chromedp.Do(ada.tab,
			chromedp.Navigate(ada.base+"/keys/-/new"),
			chromedp.SendKeys(chromedp.CSS("#name"), name),
			chromedp.Click(chromedp.CSS("button[value=mint]")),
			chromedp.WaitVisible(chromedp.CSS("#key")),
		))
		shown := plaintexts.FindString(ada.html())
		if shown == "" {
			t.Fatalf("%s: no key is shown:\n%s", name, ada.html())
		}
		w.opens(t, shown)
		check(t, chromedp.Do(ada.tab, chromedp.Navigate(ada.base+"/profiles")))
		ada.back(t)
		if html := ada.html(); plaintexts.MatchString(html) {
			t.Errorf("%s: the way back shows the key:\n%s", name, html)
		}
		if name == "without" {
			w.rotateAsItIs(t, ada, name, shown)
		}
	}
	if n := w.keys(t, acme); n != 2 {
		t.Errorf("there are %d keys", n)
	}
}

// rotateAsItIs rotates a key by what the pages have for everybody, with scripts switched off: the new key is shown, its
// owner says that they have it and is led back, the old one is revoked, and the page says by itself when that is over.
func (w *world) rotateAsItIs(t *testing.T, ada *reader, name, old string) {
	t.Helper()
	check(t, chromedp.Do(ada.tab,
		chromedp.Navigate(ada.base+"/keys/"+name),
		chromedp.Click(chromedp.CSS(`main a[href*="/rotate?"]`)), chromedp.WaitVisible(chromedp.CSS("button[value=mint]")),
		chromedp.Click(chromedp.CSS("button[value=mint]")), chromedp.WaitVisible(chromedp.CSS("#key")),
	))
	successor := plaintexts.FindString(ada.html())
	w.opens(t, successor)
	check(t, chromedp.Do(ada.tab,
		chromedp.Click(chromedp.CSS(`form[action$="/have-it"] button`)), chromedp.WaitVisible(chromedp.CSS("main a.danger")),
		chromedp.Click(chromedp.CSS("main a.danger")), chromedp.WaitVisible(chromedp.CSS("main button.danger")),
		chromedp.Click(chromedp.CSS("main button.danger")),
	))
	eventually(t, "the page says that it is over", func() bool { return strings.Contains(ada.html(), "1 of 1 confirmed") })
	if w.comes(t, old, admission.Need{}) == nil || w.comes(t, successor, admission.Need{}) != nil {
		t.Error("the old key opens, or the new one does not")
	}
}

// back goes one page back, and returns when the page that was there is not shown any more. What comes in its place may
// be a page of the browser's own, which no navigation ends with.
func (r *reader) back(t *testing.T) {
	t.Helper()
	history, err := chromedp.Run(r.tab, chromedp.NavigationEntries())
	check(t, err)
	before, err := browser.Read[string](r.tab, `document.title`)
	check(t, err)
	_, err = chromedp.Call(r.tab, navigation.NavigateToHistoryEntry,
		navigation.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
	check(t, err)
	eventually(t, "another page is shown", func() bool {
		now, err := browser.Read[string](r.tab, `document.title`)
		return err == nil && now != before
	})
}

// html is the page as it is now.
func (r *reader) html() string {
	r.t.Helper()
	text, err := browser.Read[string](r.tab, `document.documentElement.outerHTML`)
	check(r.t, err)
	return text
}
