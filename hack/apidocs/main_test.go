// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/httpapi"
)

func TestInsert(t *testing.T) {
	page, err := insert([]byte("before\n"+beginMark+"old\n"+endMark+"after\n"), "new\n")
	if want := "before\n" + beginMark + "\nnew\n\n" + endMark + "after\n"; err != nil || string(page) != want {
		t.Errorf("got %q, %v; want %q", page, err, want)
	}
	again, err := insert(page, "new\n")
	if err != nil || string(again) != string(page) {
		t.Errorf("a second time: %q, %v", again, err)
	}
	for _, page := range []string{"", beginMark, endMark, endMark + beginMark} {
		if _, err := insert([]byte(page), "new"); err == nil {
			t.Errorf("%q has no place for it", page)
		}
	}
}

// Every endpoint has its place in the order of the examples and a section, and every object that is named has a
// heading.
func TestMarkdown(t *testing.T) {
	text, err := httpapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	page := d.markdown(nil)
	named := map[string]bool{}
	for _, e := range d.endpoints() {
		named[e.OperationID] = true
		if heading := "\n#### `" + e.method + " " + e.path + "`\n"; strings.Count(page, heading) != 1 {
			t.Errorf("%q stands there %d times", heading, strings.Count(page, heading))
		}
	}
	for _, id := range order {
		if !named[id] {
			t.Errorf("%s has a place in the order, and is no endpoint", id)
		}
	}
	if len(named) != len(order) {
		t.Errorf("%d endpoints, and %d in the order", len(named), len(order))
	}
	for link := range strings.SplitSeq(page, "](#") {
		if anchor, _, ok := strings.Cut(link, ")"); ok && !strings.ContainsAny(anchor, " \n|") && !strings.Contains(strings.ToLower(page), "\n#### "+anchor+"\n") {
			t.Errorf("a link to #%s leads nowhere", anchor)
		}
	}
}
