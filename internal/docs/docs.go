// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs serves the project's own documentation, so that whoever meets an error finds its page at the server that
// has answered with it, of the release that it runs:
//
//	/llms.txt               an index for machines, as https://llmstxt.org has it
//	/docs/                  the same for people
//	/docs/PAGE              docs/PAGE.md, as HTML
//	/docs/PAGE.md, …        any file of the folder docs, as it is
//	/docs/errors/CODE       where a code is explained: docUrl of an error
//	/docs/preflight/RULE    where a rule is: ruleUrl
//
// Nobody is asked for a key. All of it is made once and held in memory, compressed too; a request is a lookup.
//
// docs.go answers requests, page.go makes a page of a text, and layout.go puts around it what all pages have. Pages are
// made of the very files of the folder docs, which are embedded: a link that holds at the repository holds here, too,
// and whatever is not below docs leads there. Nothing that a request has sent gets into an answer.
package docs

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // the style
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"

	source "github.com/letmepost/letmepost-operator/docs"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// Root is where the pages are. An error's docUrl and ruleUrl are below it: problem.DocPath and problem.RulePath.
const Root = "/docs"

const (
	index = "/llms.txt"
	// errorsPage is the page that has a place for each code and rule, and names the anchor on it for rules that are a
	// caller's own: names of parameters and members.
	errorsPage = "errors"
	names      = "names-of-parameters-and-members"
)

//go:embed style.css
var style []byte

// Site is the documentation. Its zero value is not usable: New makes it. Any number of goroutines may use it.
type Site struct {
	base string                           // the public URL, or ""
	made func() (map[string]*file, error) // by path, as requests have it; made once, whoever asks first
}

// file is something that is served. It never changes.
type file struct {
	contentType string
	plain       []byte
	zipped      []byte // nil: compressing gains nothing
	etag        string // without quotes

	anchors map[string]bool // of a page, without "#"; nil: it is no page, or is the list of them
}

// New returns the site of a server whose public URL this is; "" if that is not known. Nothing is made before the first
// request asks for it: a process that nobody reads at pays nothing.
func New(publicURL string) *Site {
	s := &Site{base: strings.TrimRight(publicURL, "/")}
	s.made = sync.OnceValues(func() (map[string]*file, error) { return s.files(source.Files) })
	return s
}

// Before serves what is the site's, and has next answer all else.
func (s *Site) Before(next http.Handler) http.Handler { return Before(s, next) }

// Before has site, which is a Site or stands around one, answer what is a site's, and next all else. It is apart from
// Site's own, because a program that logs and counts requests puts that around the site alone.
func Before(site, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Pattern(r) == "" {
			next.ServeHTTP(w, r)
			return
		}
		site.ServeHTTP(w, r)
	})
}

// Pattern is which of Patterns a request's path is an example of; "": it is none of a site's. It has few values
// whatever is asked for, so that it can be a label of metrics. All that it names is the site's to answer, also with
// 404: the API has no path there.
func Pattern(r *http.Request) string {
	switch p := r.URL.Path; {
	case p == index:
		return index
	case p == Root, strings.HasPrefix(p, Root+"/"):
		return Root + "/{page}"
	}
	return ""
}

// Patterns are the paths of a site, as logs and metrics name them.
func Patterns() []string { return []string{index, Root + "/{page}"} }

// ServeHTTP answers a request for a path that is the site's. Its headers stand on every answer, refusals included.
// Files may be kept by anybody for five minutes, which is how long a page of an old release may be seen after an
// upgrade; that a page is missing is not kept, since the next release may have it.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// No script, and no style but our own: there is none on any page.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "+
		"form-action 'none'; frame-ancestors 'none'")
	if path.Ext(r.URL.Path) == ".svg" {
		// A figure has its colours for light and dark in itself. Opened by itself it is a document, and may do nothing else.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "This is read, and nothing else.", http.StatusMethodNotAllowed)
		return
	}
	files, err := s.made()
	if err != nil { // what is embedded can't be read: tests see that it can
		http.Error(w, "The documentation could not be made.", http.StatusInternalServerError)
		return
	}
	if f := files[r.URL.Path]; f != nil {
		h.Set("Cache-Control", "public, max-age=300") // nobody's data; it changes with the release
		f.serve(w, r)
		return
	}
	if to := redirect(r.URL.Path, files); to != "" {
		h.Set("Cache-Control", "public, max-age=300")
		// As it is, and not by http.Redirect: relative, so that it holds behind a proxy that knows this server by another
		// path. It is made of what is on the page, and of nothing that the caller has sent.
		h.Set("Location", to)
		w.WriteHeader(http.StatusFound)
		return
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	if r.Method == http.MethodGet {
		fmt.Fprintf(w, "There is no such page. %s lists those that there are.\n", s.base+index)
	}
}

// redirect is where a path leads that is no file; "": nowhere. A code has to have its place; a rule need not, because
// some are names that callers have chosen, such as targets.0.text: these lead to what is said of all of them. The
// targets are relative to the path that was asked for.
func redirect(p string, files map[string]*file) string {
	if p == Root {
		return "docs/"
	}
	codes, rules := Root+problem.DocPath(""), Root+problem.RulePath("")
	anchors := files[Root+"/"+errorsPage].anchors
	if code, ok := strings.CutPrefix(p, codes); ok && anchors[code] {
		return "../" + errorsPage + "#" + code
	}
	rule, ok := strings.CutPrefix(p, rules)
	switch {
	case !ok || rule == "" || strings.Contains(rule, "/"):
		return ""
	case anchors[rule]:
		return "../" + errorsPage + "#" + rule
	}
	return "../" + errorsPage + "#" + names
}

// serve answers with a file, or says that the caller has it already. With 304 go the headers that the whole answer
// would have (RFC 9110, section 15.4.5), but not those of its content. Whatever caches in between must keep both forms
// apart: hence Vary, and an ETag for each.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h, body, etag := w.Header(), f.plain, `"`+f.etag+`"`
	h.Set("Vary", "Accept-Encoding")
	if f.zipped != nil && takesGzip(r.Header.Values("Accept-Encoding")) {
		// Another representation, which has a name of its own: RFC 9110 section 8.8.3.3.
		body, etag = f.zipped, `"`+f.etag+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", etag)
	if has(r.Header.Values("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // who does not wait for it gets none of it
	}
}

// takesGzip tells whether a caller takes gzip. One who only says what they like less is sent plain text. "*" is not
// taken for it. The weight is not compared with others: only one of zero says no (RFC 9110, section 12.5.3).
func takesGzip(values []string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			coding, weight, weighed := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
			if strings.EqualFold(coding, "gzip") && (!weighed || strings.Trim(weight, "q=0.") != "") {
				return true
			}
		}
	}
	return false
}

// has tells whether an ETag is among those of If-None-Match. A weak one is the same to it. If-None-Match compares
// weakly (RFC 9110, section 13.1.2), and proxies that compress make an ETag weak. "*" is any file.
func has(values []string, etag string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimPrefix(strings.TrimSpace(part), "W/"); part == etag || part == "*" {
				return true
			}
		}
	}
	return false
}

// newFile compresses what can be, as well as it can be: it is done once. A compressed form is kept only if it is a
// tenth smaller: pictures are compressed already. The ETag is made of the text before compression, so that it is the
// same at every replica of a release.
func newFile(contentType string, plain []byte) (*file, error) {
	sum := sha256.Sum256(plain)
	f := &file{contentType: contentType, plain: plain, etag: hex.EncodeToString(sum[:12])}
	var zipped bytes.Buffer
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(plain)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if zipped.Len() < len(plain)*9/10 {
		f.zipped = zipped.Bytes()
	}
	return f, nil
}

// types of files, by the ends of their names. What has none of these is not served. YAML and Lua are sent as plain
// text, for a browser to show; the folder's own Go file has none of these ends.
var types = map[string]string{
	".md": "text/markdown; charset=utf-8", ".yaml": "text/plain; charset=utf-8", ".lua": "text/plain; charset=utf-8",
	".png": "image/png", ".svg": "image/svg+xml", ".css": "text/css; charset=utf-8",
}

// files makes all that is served of a folder. Texts get their notice only after all pages were made of them: it is for
// those who read the Markdown itself, and a page says it in its own way. The error is of what is embedded, and not of
// anything that a caller could do.
func (s *Site) files(folder fs.FS) (map[string]*file, error) {
	texts := map[string][]byte{}
	err := fs.WalkDir(folder, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || types[path.Ext(p)] == "" {
			return err
		}
		texts[p], err = fs.ReadFile(folder, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the documentation: %w", err)
	}
	files := map[string]*file{}
	add := func(p, contentType string, text []byte) *file {
		f, failure := newFile(contentType, text)
		if failure != nil {
			err = failure
		}
		files[p] = f
		return f
	}
	pages := s.pages(texts)
	for _, p := range pages {
		add(Root+"/"+p.name, "text/html; charset=utf-8", p.html(pages)).anchors = p.anchors
		texts[p.name+".md"] = append([]byte(s.notice()), texts[p.name+".md"]...)
	}
	for p, text := range texts {
		add(Root+"/"+p, types[path.Ext(p)], text)
	}
	add(Root+"/style.css", types[".css"], style)
	add(Root+"/", "text/html; charset=utf-8", s.contents(pages).html(pages))
	add(index, "text/plain; charset=utf-8", s.index(pages))
	return files, err
}
