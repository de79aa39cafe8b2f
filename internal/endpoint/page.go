// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// WebPage is what a browser is answered: a few sentences, or where to go on.
type WebPage struct {
	Title string
	Text  string
	Next  string // what to do; may be ""
	// Location is where the browser goes on, in place of the page; "": it stays here.
	Location string
	// Failure is why it went wrong, for metrics and the log, if the browser is sent on to be told there; nil: it did not.
	Failure error
}

// shownPage is what the template shows.
type shownPage struct {
	WebPage
	Style     template.CSS // as plain text, the template would not take it for a style that it may put there
	RequestID string       // "": it is not said
}

// pageStyle is the style of every page. Its hash stands in pagePolicy, and is made of it: nothing else is applied by
// a browser.
const pageStyle = `:root{color-scheme:light dark}` +
	`body{font:1rem/1.6 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;padding:0 1.25rem}` +
	`h1{font-size:1.25rem}small{opacity:.7}`

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>{{.Style}}</style>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Next}}<p>{{.}}</p>
{{end}}{{with .RequestID}}<p><small>Request {{.}}</small></p>
{{end}}</main>
</html>
`))

var (
	contentTypeHTML = []string{"text/html; charset=utf-8"}
	// pagePolicy lets a page do nothing but be read: no script, no frame around it, nothing from elsewhere. Its one style
	// is named by its hash.
	pagePolicy = []string{"default-src 'none'; style-src '" + hashOfStyle() +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
	// noReferrer: the address of such a page may hold what only its platform and this server are to know.
	noReferrer = []string{"no-referrer"}
)

func hashOfStyle() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// openPage lets the route answer a browser.
func (r *Request) openPage() error {
	page, err := r.route.page(r)
	if err != nil {
		return err
	}
	r.answer.failure = page.Failure
	if page.Location != "" {
		r.answer.status, r.answer.location = http.StatusFound, page.Location
		page = WebPage{Title: "Going on", Text: "Your browser is sent on."}
	}
	r.answer.body.showPage(shownPage{WebPage: page, Style: pageStyle})
	return nil
}

// showPage replaces the body by a page.
func (b *body) showPage(p shownPage) {
	b.buffer.Reset()
	if err := pageTemplate.Execute(&b.buffer, p); err != nil {
		panic(err) // it is texts alone, and a buffer takes them all
	}
}

// setPageHead sets what the header of every page says.
func setPageHead(h http.Header) {
	h["Content-Type"], h["Content-Security-Policy"], h["Referrer-Policy"] = contentTypeHTML, pagePolicy, noReferrer
}

// pageOf is a problem as a browser is shown it.
func (r *Request) pageOf(p reply) shownPage {
	return shownPage{
		WebPage: WebPage{Title: "That did not work", Text: p.Message, Next: p.Remediation},
		Style:   pageStyle, RequestID: r.id,
	}
}
