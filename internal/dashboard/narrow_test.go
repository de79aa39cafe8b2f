// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"testing"

	"github.com/letmepost/letmepost-operator/test/browser"
)

// crowded tells what of a page has to be scrolled sideways to be read, or is cut off, with all that folds open. Fields
// scroll by themselves, and what ends in an ellipsis has its whole text in its title.
const crowded = `(() => {
const folded = [...document.querySelectorAll("details:not([open])")];
for (const d of folded) d.open = true;
const found = [...document.querySelectorAll("body *")].filter(e => {
	const s = getComputedStyle(e);
	return e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && s.overflowX !== "visible" && s.clipPath === "none" &&
		!(s.textOverflow === "ellipsis" && e.title) && !e.matches("input, select, textarea");
}).map(e => "scrolls sideways: " + e.cloneNode().outerHTML);
for (const d of folded) d.open = false;
return found;
})()`

// mislabeled tells which cells of lists are not called what their columns are: in a narrow window, they are cards.
const mislabeled = `[...document.querySelectorAll("table.list")].flatMap(table => {
const heads = [...table.tHead.rows[0].cells].map(c => (c.querySelector("a") ?? c).textContent);
return [...table.tBodies[0].rows].flatMap(row => [...row.cells].filter((cell, i) => {
	const said = cell.dataset.label;
	return said ? said !== heads[i] : !cell.matches("th, .state, :has(> input), :empty");
}).map(cell => "is a card without this column's name: " + cell.outerHTML));
})`

// narrowness is what is wrong with a page for want of room.
func (r *reader) narrowness(t *testing.T) (faults []string) {
	t.Helper()
	text, err := browser.Read[string](r.tab, `JSON.stringify([...`+crowded+`, ...`+mislabeled+`])`)
	check(t, err)
	check(t, json.Unmarshal([]byte(text), &faults))
	return faults
}
