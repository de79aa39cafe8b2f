// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/test/browser"
)

var update = flag.Bool("update", false, "write testdata/spoken/*.txt anew")

// differing is what is another each time a page is made, and by what it is written down.
var differing = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`lmp_(live|test)_[0-9A-Za-z]{20,}`), "lmp_${1}_KEY"},
	{regexp.MustCompile(`lmp_(live|test)_…[0-9A-Za-z]{4}`), "lmp_${1}_…HINT"},
	{regexp.MustCompile(`bound:[0-9a-f]+:[0-9a-f]+`), "HASH"},
	{regexp.MustCompile(`[0-9]{4}(-[0-9]{2}){2}T[0-9:]{8}Z`), "DATE"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\b(just now|in less than a minute|in [0-9]+ (minute|hour|day)s?|[0-9]+ (minute|hour|day)s? ago)\b`), "TIME"},
	{regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+`), "https://HOST"},
}

// spoken holds what a screen reader says of a page from its top to its end to testdata/spoken: what comes first, what
// each thing is called, and what it is. -update writes that anew; then read it with your eyes closed.
func (r *reader) spoken(t *testing.T, name, organization string) {
	t.Helper()
	said := strings.ReplaceAll(r.said(t), organization, "ORGANIZATION")
	for _, d := range differing {
		said = d.is.ReplaceAllString(said, d.as)
	}
	file := filepath.Join("testdata", "spoken", name+".txt")
	if *update {
		check(t, os.MkdirAll(filepath.Dir(file), 0o755))
		check(t, os.WriteFile(file, []byte(said), 0o644))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if diff := cmp.Diff(string(want), said); diff != "" {
		t.Errorf("a screen reader says something else than %s (-want +got):\n%s", file, diff)
	}
}

// said is what a screen reader has to say, a line for each stop, by Chromium's accessibility tree.
func (r *reader) said(t *testing.T) string {
	t.Helper()
	tree, err := chromedp.Call(r.tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	check(t, err)
	s := speech{nodes: map[accessibility.NodeID]*accessibility.Node{}}
	for _, n := range tree.Nodes {
		s.nodes[n.NodeID] = n
	}
	s.node(tree.Nodes[0], 0)
	return strings.Join(s.lines, "\n") + "\n"
}

// speech is made of a page's tree of what can be heard.
type speech struct {
	nodes   map[accessibility.NodeID]*accessibility.Node
	columns []string // of the table that is read
	lines   []string
}

// Roles by how they are said: with all that is in them as their name, around what is in them, or not at all.
var (
	whole = []string{
		"heading", "link", "button", "checkbox", "radio", "textbox", "searchbox", "combobox", "progressbar", "image", "Date",
		"DateTime", "InputTime", "DisclosureTriangle",
	}
	around = []string{
		"RootWebArea", "banner", "navigation", "main", "region", "search", "form", "group", "radiogroup", "list", "table",
		"row", "status", "alert", "figure", "blockquote", "DescriptionList", "Figcaption",
	}
)

// states are the properties that are said with a name, if they are not what they always are.
var states = []accessibility.PropertyName{"level", "checked", "expanded", "disabled", "required", "invalid", "live", "focused"}

func (s *speech) node(n *accessibility.Node, depth int) {
	role, name := text(n.Role), strings.Join(strings.Fields(text(n.Name)), " ")
	switch {
	case n.Ignored:
	case slices.Contains(whole, role):
		s.say(depth, n, name)
		return
	case slices.Contains(around, role), s.property(n, "live") != "":
		if role == "table" {
			s.columns = nil
		}
		if role == "row" {
			s.row(n, depth)
			return
		}
		s.say(depth, n, name)
		depth++
	case role == "StaticText" && name != "":
		s.line(depth, name)
		return
	}
	for _, id := range n.ChildIDs {
		if c := s.nodes[id]; c != nil {
			s.node(c, depth)
		}
	}
}

// row reads a row of a table: each cell after the name of its column, as whoever goes through it hears it; and first,
// the names of the columns.
func (s *speech) row(n *accessibility.Node, depth int) {
	var cells, roles []string
	for _, id := range n.ChildIDs {
		c := s.nodes[id]
		if c == nil || c.Ignored {
			continue
		}
		cell := speech{nodes: s.nodes}
		for _, id := range c.ChildIDs {
			cell.node(s.nodes[id], 0)
		}
		said := strings.Join(cell.lines, " ")
		if text(c.Role) == "columnheader" {
			said = text(c.Name) // and not that one can sort by it
		}
		cells, roles = append(cells, said), append(roles, text(c.Role))
	}
	if slices.Contains(roles, "columnheader") {
		s.columns = cells
		s.line(depth, "columns: "+strings.Join(cells, ", "))
		return
	}
	s.line(depth, "row")
	for i, cell := range cells {
		column := "?"
		if i < len(s.columns) {
			column = s.columns[i]
		}
		if roles[i] == "rowheader" {
			cell += " (the row's name)"
		}
		s.line(depth+1, column+": "+cell)
	}
}

func (s *speech) say(depth int, n *accessibility.Node, name string) {
	said := []string{text(n.Role)}
	if name != "" {
		said = append(said, fmt.Sprintf("%q", name))
	}
	if v := text(n.Value); v != "" {
		said = append(said, fmt.Sprintf("is %q", v))
	}
	for _, p := range states {
		if v := s.property(n, p); v != "" && v != "false" {
			said = append(said, string(p)+" "+v)
		}
	}
	if d := text(n.Description); d != "" {
		said = append(said, "- "+d)
	}
	s.line(depth, strings.Join(said, " "))
}

func (s *speech) line(depth int, text string) {
	s.lines = append(s.lines, strings.TrimRight(strings.Repeat("  ", depth)+text, " "))
}

func (s *speech) property(n *accessibility.Node, name accessibility.PropertyName) string {
	for _, p := range n.Properties {
		if p.Name == name && p.Value != nil {
			return text(p.Value)
		}
	}
	return ""
}

func text(v *accessibility.Value) string {
	if v == nil || len(v.Value) == 0 {
		return ""
	}
	var decoded any
	if json.Unmarshal(v.Value, &decoded) != nil {
		return string(v.Value)
	}
	return fmt.Sprint(decoded)
}

// TestWhatAScreenReaderSays reads the pages that keys are minted, replaced and revoked by from top to end, as somebody
// does who sees none of it.
func TestWhatAScreenReaderSays(t *testing.T) {
	w := newWorld(t, counting(t))
	acme := w.cluster.Namespace(t)
	w.furnishKeys(t, acme)
	token := w.credential(t, acme, "ada", "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker")
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	ada := browsing(t, chromium, w.signedIn(t, token, acme))
	ada.signIn(token, acme)
	website := w.key(t, acme, "website")
	for _, page := range []struct {
		name string
		show func() error
	}{
		{"list", ada.at("/keys?sort=name")},
		{"mint", ada.at("/keys/-/new")},
		{"mint-refused", ada.fill("/keys/-/new", map[string]string{"#name": "Not A Name"}, "button[value=mint]")},
		{"shown-once", ada.fill("/keys/-/new", map[string]string{"#name": "newsletter"}, "button[value=mint]")},
		{"rotate", ada.at("/keys/website/rotate")},
		{"rotate-switch", func() error {
			f := ada.rotationForm("website", url.Values{"expiry": {"never"}, "way": {"cluster"}})
			ada.post("/keys/website/rotate", f).shows(t, http.StatusOK, []string{"website-2"}, nil)
			eventually(t, "the successor is served", func() bool {
				return strings.Contains(ada.get("/keys/website/rotate").body, ">served<")
			})
			return ada.at("/keys/website/rotate")()
		}},
		{"revoke", ada.at("/keys/-/revoke?" + ada.ofPage(refs(website)).Encode())},
		{"revoked", func() error {
			w.silentReplica(t)
			waits := strings.TrimPrefix(ada.post("/keys/-/revoke", refs(website)).path, dashboard.Base)
			eventually(t, "the page names who is awaited", func() bool { return strings.Contains(ada.get(waits).body, "silent-pod") })
			return ada.at(waits)()
		}},
	} {
		t.Run(page.name, func(t *testing.T) {
			check(t, chromedp.Do(ada.tab, chromedp.EmulateViewport(1280, 900)))
			check(t, page.show())
			ada.spoken(t, page.name, acme)
			check(t, chromedp.Do(ada.tab, chromedp.EmulateViewport(360, 900))) // where rows are cards, it says the same
			ada.spoken(t, page.name, acme)
		})
	}
}
