// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"
)

// layout is what all pages have around them. Its links are relative, so that they hold behind a proxy that knows this
// server by another path. An entry of the list of pages is there twice: where one is, and how one goes on. The link to
// the list ends with "./", since Up is empty for most pages, and a link to nothing leads to the page that it is on.
var layout = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}} · letmepost</title>
{{- with .Summary}}
<meta name="description" content="{{.}}">
{{- end}}
<link rel="stylesheet" href="{{.Up}}style.css">
{{- with .Source}}
<link rel="alternate" type="text/markdown" href="{{.}}">
{{- end}}
</head>
<body>
<a class="skip" href="#content">Skip to main content</a>
<header><a href="{{.Up}}./">letmepost docs</a>{{with .Source}} <a href="{{.}}">Markdown</a>{{end}}</header>
<nav aria-label="Pages">
<ul>
{{- range .Pages}}
<li><a href="{{$.Up}}{{.Name}}"{{if .Here}} aria-current="page"{{end}}>{{.Title}}</a></li>
{{- end}}
</ul>
</nav>
<main id="content" tabindex="-1">
<p class="notice">Documentation index: <a href="{{.Up}}../llms.txt">{{.Index}}</a> lists all pages.</p>
{{.Body}}
</main>
</body>
</html>
`))

// entry is a page in the list of all.
type entry struct {
	Name, Title string
	Here        bool
}

// html is the page as it is served, with a list of all pages. up leads from the page to the root of the site, one step
// for each folder of its name. The list of all pages has no Markdown of its own, and so no link to it.
func (p *page) html(pages []*page) []byte {
	up := strings.Repeat("../", strings.Count(p.name, "/"))
	list := make([]entry, len(pages))
	for i, other := range pages {
		list[i] = entry{other.name, other.title, other == p}
	}
	source := ""
	if p.name != "" {
		source = up + p.name + ".md"
	}
	var b bytes.Buffer
	if err := layout.Execute(&b, map[string]any{
		"Title": p.title, "Summary": p.summary, "Up": up, "Source": source, "Pages": list, "Index": p.index,
		"Body": p.body,
	}); err != nil {
		panic(err) // the template is a constant, and memory takes all: a mistake that every test sees
	}
	return b.Bytes()
}

// notice tells machines where they find all pages, at the beginning of each that is Markdown.
func (s *Site) notice() string {
	return "> Documentation index: " + s.base + index + " lists all pages. Read it before you look further.\n\n"
}

// contents is the page that lists all pages.
func (s *Site) contents(pages []*page) *page {
	var b strings.Builder
	b.WriteString("<h1>letmepost docs</h1>\n<p>Of the release that answers here.</p>\n<dl>\n")
	for _, p := range pages {
		fmt.Fprintf(&b, "<dt><a href=\"%s\">%s</a></dt><dd>%s</dd>\n",
			template.HTMLEscapeString(p.name), template.HTMLEscapeString(p.title), template.HTMLEscapeString(p.summary))
	}
	b.WriteString("</dl>\n")
	return &page{
		title: "Docs", index: s.base + index,
		body: template.HTML(b.String()), //nolint:gosec // G203: escaped above
	}
}

// index is llms.txt: a title, a summary, and lists of links with what is to be found there. The form is that of
// https://llmstxt.org. It leads to the Markdown and not to the pages: who reads it is a machine.
func (s *Site) index(pages []*page) []byte {
	var b bytes.Buffer
	b.WriteString("# letmepost\n\n> API keys as Kubernetes resources, and an API that publishes to Bluesky and LinkedIn " +
		"for whoever has one. Keys are revoked at once, on every replica.\n\n## Docs\n\n")
	for _, p := range pages {
		fmt.Fprintf(&b, "- [%s](%s%s/%s.md): %s\n", p.title, s.base, Root, p.name, p.summary)
	}
	fmt.Fprintf(&b, "\n## API\n\n- [OpenAPI](%s/v1/openapi.json): every endpoint, with all types\n",
		s.base)
	return b.Bytes()
}
