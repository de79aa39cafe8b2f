// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/test/browser"
)

// misheard tells what of a page is in the accessibility tree as it should be, and was heard wrong all the same, when
// pages were listened to with a real screen reader (Orca 43 with Chromium).
const misheard = `(() => {
const faults = [];
const each = (what, elements) => { for (const e of elements) faults.push(what + ": " + e.cloneNode().outerHTML); };
const all = (selector) => [...document.querySelectorAll(selector)];
const inline = "b, code, em, span, strong";
each("what names something that can have the focus is left out when the page is read to its end",
	all(":is(a, button, input, select, summary, textarea, [tabindex])[aria-labelledby]"));
const words = (e) => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
const bare = (e) => [e, ...e.querySelectorAll(inline)].some(o => words(o) && o.closest(":not(" + inline + ")") === e);
each("words that are in no paragraph are left out for the name", all("[role=alert], [role=status], nav").filter(bare));
each("of a status that has the focus, its words come after all else", all("[role=status][tabindex]"));
each("a status without words is read as one", all("[role=status]").filter(e => !e.textContent.trim()));
each("is read once more after what it names", all("label :is(code, em, strong, b)"));
each("is read as another heading", all(":is(h1, h2, h3) code"));
each("is read in pieces, out of order, when it changes", all("[aria-live]").filter(e => e.firstElementChild));
each("is glued to the word before it", all(".visually-hidden").filter(e => /^\s/.test(e.textContent)));
each("the same is read as the field's description", all("[role=alert][id]").filter(e =>
	document.querySelector("[autofocus][aria-describedby~='" + e.id + "']")));
return JSON.stringify(faults);
})()`

func (r *reader) misheard(t *testing.T) (faults []string) {
	t.Helper()
	text, err := browser.Read[string](r.tab, misheard)
	check(t, err)
	check(t, json.Unmarshal([]byte(text), &faults))
	return faults
}

// told are the texts that were announced since listen, without a look at where they stand.
func (r *reader) told(t *testing.T) (texts []string) {
	t.Helper()
	text, err := browser.Read[string](r.tab, `JSON.stringify(window.told)`)
	check(t, err)
	check(t, json.Unmarshal([]byte(text), &texts))
	return texts
}

func (r *reader) listen(t *testing.T) {
	t.Helper()
	_, err := browser.Read[bool](r.tab, `(() => {
const said = document.querySelector("[aria-live]");
window.told = [];
new MutationObserver(() => window.told.push(said.textContent)).observe(said, {childList: true, characterData: true});
return true;
})()`)
	check(t, err)
}

// TestWhatIsAnnounced: what happens on a page that stays is announced, in whole sentences and nothing else: what the
// browser finds wrong in a form, that something was copied, each time, and how far a revocation is.
func TestWhatIsAnnounced(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "ada", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, w.signedIn(t, token, acme))
	ada.signIn(token, acme)

	check(t, ada.at("/keys/-/new")())
	ada.listen(t)
	check(t, chromedp.Do(ada.tab,
		chromedp.SetValue(chromedp.CSS("#name"), "Not A Name"), chromedp.SetValue(chromedp.CSS("#window"), "long"),
		chromedp.Click(chromedp.CSS("button[value=mint]")),
	))
	eventually(t, "what is wrong is announced", func() bool { return len(ada.told(t)) > 0 })
	if told := ada.told(t); len(told) != 1 || !strings.HasSuffix(told[0], " Lower case letters, digits, '-' and '.'.") {
		t.Errorf("of a name that is none and a window that is none, %q is announced", told)
	}

	check(t, ada.fill("/keys/-/new", map[string]string{"#name": "copied"}, "button[value=mint]")())
	ada.listen(t)
	for n := range 3 {
		check(t, chromedp.Do(ada.tab, chromedp.Click(chromedp.CSS("[data-copy=key]"))))
		eventually(t, "that it was copied is announced", func() bool { return len(ada.told(t)) > n })
	}
	told := ada.told(t)
	other := func(s string) bool { return strings.TrimSpace(s) != "Copied" }
	if len(slices.Compact(slices.Clone(told))) != 3 || slices.ContainsFunc(told, other) {
		t.Errorf("of three times, %q is announced", told)
	}

	forget := w.silentReplica(t)
	waits := strings.TrimPrefix(ada.post("/keys/-/revoke", refs(w.key(t, acme, "copied"))).path, dashboard.Base)
	eventually(t, "the page names who is awaited", func() bool { return strings.Contains(ada.get(waits).body, "silent-pod") })
	check(t, ada.at(waits)())
	ada.listen(t)
	forget()
	const over = "1 of 1 confirmed. No replica of the API accepts any of these keys. " +
		"Refused by all replicas. No write made with it is still to come."
	eventually(t, "that it is over is announced", func() bool { return slices.Contains(ada.told(t), over) })
	if told := ada.told(t); strings.Contains(strings.Join(told, ""), "silent-pod") {
		t.Errorf("announced is %q", told)
	}
}
