// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/letmepost/letmepost-operator/test/browser"
)

// TestKeyboardAlone: somebody without a mouse signs in, mints a key, and revokes it.
func TestKeyboardAlone(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "ada", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, w.visitor(t))
	check(t, chromedp.Do(ada.tab, chromedp.Navigate(ada.base+"/sign-in")))

	ada.tabTo(t, "#token")
	ada.paste(t, token)
	ada.tabTo(t, "main button")
	ada.enter(t)
	ada.tabTo(t, "#name")
	ada.paste(t, acme)
	ada.enter(t) // in a field, it sends the form
	ada.tabTo(t, `nav.rooms a[href$="/keys"]`)
	ada.enter(t)
	ada.tabTo(t, `main a[href$="/keys/-/new"]`)
	ada.enter(t)
	ada.tabTo(t, "#name")
	ada.paste(t, "by-keyboard")
	ada.tabTo(t, "button[value=mint]")
	ada.enter(t)
	shown := plaintexts.FindString(ada.html())
	if shown == "" {
		t.Fatalf("no key is shown:\n%s", ada.html())
	}
	w.opens(t, shown)
	ada.tabTo(t, `nav.rooms a[href$="/keys"]`)
	ada.enter(t)
	ada.tabTo(t, `main a[href$="/keys/by-keyboard"]`)
	ada.enter(t)
	ada.tabTo(t, `main a[href*="/keys/-/revoke"]`)
	ada.enter(t)
	ada.tabTo(t, "main button.danger")
	ada.enter(t)
	eventually(t, "the key is gone", func() bool { return w.keys(t, acme) == 0 })
}

// tabTo presses Tab until an element has the focus. The first is had by whatever the page gives it to.
func (r *reader) tabTo(t *testing.T, selector string) {
	t.Helper()
	const most = 80 // more than any page here has to stop at
	for range most {
		at, err := browser.Read[bool](r.tab, fmt.Sprintf(`document.activeElement.matches(%q)`, selector))
		check(t, err)
		if at {
			return
		}
		check(t, chromedp.Do(r.tab, chromedp.KeyEvent("\t")))
	}
	t.Fatalf("the keyboard does not come to %s:\n%s", selector, r.html())
}

// paste puts a text in where the focus is.
func (r *reader) paste(t *testing.T, text string) {
	t.Helper()
	_, err := chromedp.Call(r.tab, input.InsertText, input.InsertTextParams{Text: text})
	check(t, err)
}

// enter presses it, and returns when another page is there.
func (r *reader) enter(t *testing.T) {
	t.Helper()
	_, err := browser.Read[bool](r.tab, `window.before = true`)
	check(t, err)
	check(t, chromedp.Do(r.tab, chromedp.KeyEvent("\r")))
	eventually(t, "another page is there", func() bool {
		there, err := browser.Read[bool](r.tab, `!window.before && document.readyState === "complete"`)
		return err == nil && there
	})
}

// spoken are the roles of what a screen reader says by its name: without one, it says nothing that helps.
var spoken = map[string]bool{
	"button": true, "link": true, "textbox": true, "searchbox": true, "combobox": true, "checkbox": true, "radio": true,
	"heading": true, "columnheader": true, "navigation": true, "region": true, "Date": true, "DateTime": true,
}

// unsaid is what a screen reader does not say of a page, by Chromium's accessibility tree: names of what one comes to,
// the page's one title, the heads of tables.
func (r *reader) unsaid(t *testing.T) (faults []string) {
	t.Helper()
	tree, err := chromedp.Call(r.tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	check(t, err)
	count := map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		count[role]++
		if spoken[role] && (n.Name == nil || strings.Trim(string(n.Name.Value), "\" ") == "") {
			faults = append(faults, "a "+role+" without a name")
		}
		for _, p := range n.Properties {
			if role == "heading" && string(p.Name) == "level" && string(p.Value.Value) == "1" {
				count["title"]++
			}
		}
	}
	if count["title"] != 1 || count["main"] != 1 {
		faults = append(faults, fmt.Sprintf("%d titles and %d main parts", count["title"], count["main"]))
	}
	if count["table"] > 0 && count["columnheader"] == 0 && count["rowheader"] == 0 {
		faults = append(faults, "tables without heads")
	}
	return faults
}

// enlarged is how much wider than its window a page is whose text is twice as large, at half of a usual window's width.
func (r *reader) enlarged(t *testing.T) int {
	t.Helper()
	check(t, chromedp.Do(r.tab, chromedp.EmulateViewport(640, 900)))
	wide, err := browser.Read[int](r.tab, `(() => {
const root = document.documentElement, before = getComputedStyle(root).fontSize;
root.style.fontSize = 2 * parseFloat(before) + "px";
const wide = root.scrollWidth - innerWidth;
root.style.fontSize = "";
return wide;
})()`)
	check(t, err)
	return wide
}
