// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

// repository is where files are that pages lead to and that are not below docs.
const repository = "https://github.com/letmepost/letmepost-operator"

// order is that of the index: first what callers need, then what whoever runs the server does. Pages that are not in it
// come last. Each is a path below docs without .md; one that there is no file for is passed over, so a text that was
// renamed is no error here, and moves to the end.
var order = []string{
	"http-api", errorsPage, "accounts", "dashboard", "guard", "spec/v1alpha1/apikey", "spec/v1alpha1/profile",
	"spec/v1alpha1/leakedkey", "kubectl", "gitops", "revocation", "leaked-keys", "scanners", "operations", "observability",
	"benchmarks", "images", "architecture",
}

// page is one text of the documentation. Names, titles and summaries are texts, to be escaped wherever they are shown
// as HTML; body is HTML already.
type page struct {
	name    string // its path below docs, without .md; "" is the list of pages
	title   string
	summary string // its first sentences
	body    template.HTML
	index   string          // where all pages are listed, for machines
	anchors map[string]bool // of its headings, and on the page of errors of its rows
}

// markdown is GitHub's, as far as pages use it. goldmark is the parser that Hugo and Gitea have, without dependencies
// of its own; it drops HTML in a text unless it is told otherwise, and links that would run a script. A new one is made
// for each page, and used by one goroutine.
//
// The lower number wins where two renderers are for the same node: goldmark's own, which noHTML takes the place of, has
// 1000.
func markdown() goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(extension.Table, extension.Strikethrough),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(noHTML{}, 1))),
	)
}

// pages are made of all texts that are Markdown. A new text is on the list without a word here, after those that have
// their place in order.
func (s *Site) pages(texts map[string][]byte) (pages []*page) {
	known := slices.Clone(order)
	for _, p := range slices.Sorted(maps.Keys(texts)) {
		if name, ok := strings.CutSuffix(p, ".md"); ok && !slices.Contains(known, name) {
			known = append(known, name)
		}
	}
	for _, name := range known {
		if markdown, ok := texts[name+".md"]; ok {
			pages = append(pages, s.page(name, markdown, texts))
		}
	}
	return pages
}

// page renders one text. texts are all that there are, for what it links to. The tree is walked between parsing and
// rendering, where a link is still a link: in the HTML it would have to be found again. Pictures keep their address,
// since the figures are served at the same place beside the page.
func (s *Site) page(name string, source []byte, texts map[string][]byte) *page {
	p := &page{name: name, title: name, index: s.base + index, anchors: map[string]bool{}}
	md, ids := markdown(), &headingIDs{seen: p.anchors}
	document := md.Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext(parser.WithIDs(ids))))
	titled := false
	_ = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // it fails if this does
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if n.Level == 1 && !titled {
				p.title, titled = textOf(n, source), true
			}
		case *ast.Paragraph:
			if p.summary == "" && titled {
				p.summary = textOf(n, source)
			}
		case *ast.Link:
			n.Destination = []byte(linkFrom(name, string(n.Destination), texts))
		case *extast.TableRow:
			if name == errorsPage {
				p.anchorRow(n, source)
			}
		}
		return ast.WalkContinue, nil
	})
	var b bytes.Buffer
	_ = md.Renderer().Render(&b, source, document) // to memory, which takes all
	html := b.String()
	// Whatever is wider than the page scrolls by itself, and by the keyboard too. Only the renderer writes these tags: in
	// a text, they are escaped.
	html = strings.ReplaceAll(html, "<pre>", `<pre tabindex="0">`)
	html = strings.ReplaceAll(html, "<table>", `<div class="table" tabindex="0"><table>`)
	html = strings.ReplaceAll(html, "</table>", "</table></div>")
	p.body = template.HTML(html) //nolint:gosec // G203: goldmark has escaped what is not ours, and let no HTML through
	return p
}

// anchorRow makes the row of a code or a rule one that a URL can lead to. It is a row whose first cell begins with
// code. The anchor is the last part of problem.RulePath, by which redirect finds it. One that is taken, by a heading or
// by a row before, stays where it is. Headings have all of theirs by then, those below the row as well: they get them
// when the text is parsed, and rows when the tree is walked.
func (p *page) anchorRow(row *extast.TableRow, source []byte) {
	if row.FirstChild() == nil {
		return
	}
	code, ok := row.FirstChild().FirstChild().(*ast.CodeSpan)
	if !ok {
		return
	}
	if id := strings.TrimPrefix(problem.RulePath(textOf(code, source)), problem.RulePath("")); !p.anchors[id] {
		p.anchors[id] = true
		row.SetAttributeString("id", []byte(id))
	}
}

// linkFrom is where a link of a page leads that is served at its name without .md. What is not below docs, and folders,
// are at the repository. Links within the page and to other sites are left alone; what has a colon is taken for one of
// the latter. The link stays relative, as it was written for the repository, and loses its .md. A path without an end
// is taken for a folder.
func linkFrom(name, link string, texts map[string][]byte) string {
	if link == "" || strings.HasPrefix(link, "#") || strings.Contains(link, ":") {
		return link
	}
	file, fragment, _ := strings.Cut(link, "#")
	if fragment != "" {
		fragment = "#" + fragment
	}
	target := path.Join("docs", path.Dir(name), file)
	_, served := texts[strings.TrimPrefix(target, "docs/")]
	switch {
	case served:
		return strings.TrimSuffix(file, ".md") + fragment
	case path.Ext(file) == "":
		return repository + "/tree/main/" + target + fragment
	}
	return repository + "/blob/main/" + target + fragment
}

// textOf is what a node says, without its marks.
func textOf(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // it fails if this does
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(source))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// headingIDs makes anchors of headings as GitHub does, so that a link holds at both places. seen is the page's anchors,
// which it fills in.
type headingIDs struct{ seen map[string]bool }

// Generate implements parser.IDs.
func (h *headingIDs) Generate(heading []byte, _ ast.NodeKind) []byte {
	id := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.TrimSpace(string(heading)))
	unique := id
	for i := 1; h.seen[unique]; i++ {
		unique = fmt.Sprintf("%s-%d", id, i)
	}
	h.seen[unique] = true
	return []byte(unique)
}

// Put implements parser.IDs.
func (h *headingIDs) Put(id []byte) { h.seen[string(id)] = true }

// noHTML renders the HTML that is in a text: line breaks, which tables have no other way for. All else is left out;
// pages have comments, for whoever writes them. goldmark by itself would write a comment in place of what it leaves
// out, and drop line breaks, too.
type noHTML struct{}

// RegisterFuncs implements renderer.NodeRenderer.
func (noHTML) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindHTMLBlock, func(util.BufWriter, []byte, ast.Node, bool) (ast.WalkStatus, error) {
		return ast.WalkSkipChildren, nil
	})
	r.Register(ast.KindRawHTML, func(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		if raw, ok := n.(*ast.RawHTML); ok && entering && string(raw.Segments.Value(source)) == "<br>" {
			_, _ = w.WriteString("<br>") // to memory
		}
		return ast.WalkSkipChildren, nil
	})
}
