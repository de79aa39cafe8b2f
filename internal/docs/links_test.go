// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/letmepost/letmepost-operator/internal/docs"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	origin = "https://api.example.com"
	// elsewhere is where files are that no page has: they are looked for in this folder.
	elsewhere = "https://github.com/letmepost/letmepost-operator/"
)

var root = filepath.Join("..", "..")

// api is what answers all that is not the documentation's.
var api = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

var site = docs.New(origin).Before(api)

func ask(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	return w
}

// walker follows links from page to page.
type walker struct {
	pages   map[string]*parsed // by path
	outside map[string]bool
}

// parsed is what a page has: links as they stand on it, and anchors.
type parsed struct{ links, anchors []string }

// get asks for a URL of the site, goes where it is sent, and looks whether what it names is there.
func (w *walker) get(t *testing.T, from string, to *url.URL) {
	t.Helper()
	for range 3 {
		answer := ask(http.MethodGet, to.EscapedPath())
		location := answer.Header().Get("Location")
		switch {
		case answer.Code == http.StatusFound && location != "":
			next, err := to.Parse(location)
			if err != nil {
				t.Errorf("%s: %s leads to %q: %v", from, to, location, err)
				return
			}
			to = next
			continue
		case answer.Code == http.StatusTeapot && to.Path == "/v1/openapi.json":
			return
		case answer.Code != http.StatusOK:
			t.Errorf("%s: %s is answered %d", from, to, answer.Code)
			return
		}
		p := w.pages[to.Path]
		if p == nil {
			p = parse(answer)
			w.pages[to.Path] = p
			for _, link := range p.links {
				w.follow(t, to, link)
			}
		}
		if to.Fragment != "" && !slices.Contains(p.anchors, to.Fragment) {
			t.Errorf("%s: %s has no anchor %s", from, to.Path, to.Fragment)
		}
		return
	}
	t.Errorf("%s: %s leads on and on", from, to)
}

// follow looks where a link of a page leads.
func (w *walker) follow(t *testing.T, from *url.URL, link string) {
	t.Helper()
	to, err := from.Parse(link)
	switch {
	case err != nil:
		t.Errorf("%s: %q: %v", from, link, err)
	case strings.HasPrefix(link, elsewhere):
		w.outside[link] = true
		_, file, _ := strings.Cut(to.Path, "/main/")
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil || file == "" {
			t.Errorf("%s: %s is not in this repository: %v", from, link, err)
		}
	case to.Scheme+"://"+to.Host == origin:
		w.get(t, from.Path, to)
	case to.Scheme != "https":
		t.Errorf("%s: %q leads away without TLS", from, link)
	default: // others' sites are theirs
		w.outside[link] = true
	}
}

var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// parse finds the links and anchors of an answer: HTML, or the index for machines.
func parse(answer *httptest.ResponseRecorder) *parsed {
	p := &parsed{}
	switch kind := answer.Header().Get("Content-Type"); {
	case strings.HasPrefix(kind, "text/plain") && strings.HasPrefix(answer.Body.String(), "# letmepost"):
		for _, m := range markdownLink.FindAllStringSubmatch(answer.Body.String(), -1) {
			p.links = append(p.links, m[1])
		}
		return p
	case !strings.HasPrefix(kind, "text/html"):
		return p
	}
	for z := html.NewTokenizer(answer.Body); z.Next() != html.ErrorToken; {
		for _, a := range z.Token().Attr {
			switch a.Key {
			case "href", "src":
				p.links = append(p.links, a.Val)
			case "id":
				p.anchors = append(p.anchors, a.Val)
			}
		}
	}
	return p
}

// TestEveryLink follows every link of every page and of llms.txt, and docUrl and ruleUrl of each code and rule.
func TestEveryLink(t *testing.T) {
	w := &walker{pages: map[string]*parsed{}, outside: map[string]bool{}}
	start := func(link string) {
		w.follow(t, &url.URL{Scheme: "https", Host: "api.example.com", Path: "/test"}, link)
	}
	start("/llms.txt")
	start("/docs")
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	spec, err2 := filepath.Glob(filepath.Join(root, "docs", "spec", "*", "*.md"))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, file := range append(files, spec...) {
		p, _ := filepath.Rel(root, file)
		if p = "/" + strings.TrimSuffix(filepath.ToSlash(p), ".md"); w.pages[p] == nil || w.pages[p+".md"] == nil {
			t.Errorf("no index leads to %s, as a page and as Markdown", p)
		}
	}
	if len(w.pages) < 20 || len(w.outside) < 5 {
		t.Errorf("only %d pages and %d links to elsewhere", len(w.pages), len(w.outside))
	}
	for path, p := range w.pages {
		anchors := slices.Sorted(slices.Values(p.anchors))
		if len(slices.Compact(anchors)) != len(p.anchors) {
			t.Errorf("%s has an anchor twice", path)
		}
	}
	codes, rules := codesAndRules(t)
	for _, code := range codes {
		if ends := ask(http.MethodGet, docs.Root+problem.DocPath(code)).Header().Get("Location"); ends != "../errors#"+code {
			t.Errorf("the code %s has no place on the page of errors: it leads to %q", code, ends)
		}
		start(docs.Root + problem.DocPath(code))
	}
	for _, rule := range rules {
		place := path.Base(problem.RulePath(rule))
		if ends := ask(http.MethodGet, docs.Root+problem.RulePath(rule)).Header().Get("Location"); ends != "../errors#"+place {
			t.Errorf("the rule %s has no place on the page of errors: it leads to %q", rule, ends)
		}
		start(docs.Root + problem.RulePath(rule))
	}
	for _, rule := range []string{"targets.0.text", "status", "targets.3.media.0.altText", "anything-else"} {
		start(docs.Root + problem.RulePath(rule)) // names of parameters and members
	}
}

var (
	aRule = regexp.MustCompile(`(?:New(?:Invalid|Conflict)\(|Rule:\s*|\b[rR]ule[A-Z]\w*\s*=\s*)"([^"]+)"`)
	aCode = regexp.MustCompile(`\bCode[A-Z]\w*\s*=\s*"([^"]+)"`)
)

// codesAndRules are those that this program may answer with: what its sources name, and what is made of lists.
func codesAndRules(t *testing.T) (codes, rules []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		text, err := os.ReadFile(p)
		for _, m := range aRule.FindAllSubmatch(text, -1) {
			rules = append(rules, string(m[1]))
		}
		for _, m := range aCode.FindAllSubmatch(text, -1) {
			codes = append(codes, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range catalog.All {
		for _, r := range p.Rules() {
			rules = append(rules, r.ID)
		}
	}
	for _, r := range store.Resources {
		rules = append(rules, posting.RuleQuota(r))
	}
	slices.Sort(codes)
	slices.Sort(rules)
	if codes, rules = slices.Compact(codes), slices.Compact(rules); len(codes) < 14 || len(rules) < 110 {
		t.Fatalf("only %d codes and %d rules are found", len(codes), len(rules))
	}
	return codes, rules
}

// TestPlatformsRulesAreTheirs: what the page says of a platform's limits is what is checked.
func TestPlatformsRulesAreTheirs(t *testing.T) {
	page := ask(http.MethodGet, "/docs/errors.md").Body.String()
	for _, p := range catalog.All {
		for _, r := range p.Rules() {
			if row := fmt.Sprintf("| `%s` | %s | %s |", r.ID, p.Title, r.Means); !strings.Contains(page, row) {
				t.Errorf("docs/errors.md has no row %s", row)
			}
		}
	}
}
