// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestAnswers(t *testing.T) {
	const page, plain = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	for _, tc := range []struct {
		reason, method, target string
		status                 int
		kind                   string
	}{
		{"the index", "GET", "/docs/", 200, page},
		{"a page", "GET", "/docs/http-api", 200, page},
		{"a page without its body", "HEAD", "/docs/http-api", 200, page},
		{"a page in a folder", "GET", "/docs/spec/v1alpha1/apikey", 200, page},
		{"Markdown", "GET", "/docs/http-api.md", 200, "text/markdown; charset=utf-8"},
		{"an example", "GET", "/docs/examples/apikey.yaml", 200, plain},
		{"the style", "GET", "/docs/style.css", 200, "text/css; charset=utf-8"},
		{"for machines", "GET", "/llms.txt", 200, plain},
		{"the folder", "GET", "/docs", 302, ""},
		{"no page", "GET", "/docs/nothing", 404, plain},
		{"no code", "GET", "/docs/errors/nothing", 404, plain},
		{"a rule in a folder", "GET", "/docs/preflight/a/b", 404, plain},
		{"the way up", "GET", "/docs/../go.mod", 404, plain},
		{"source code", "GET", "/docs/embed.go", 404, plain},
		{"a write", "POST", "/docs/http-api", 405, plain},
		{"the API", "GET", "/v1/whoami", 418, ""},
		{"the API, with a name alike", "GET", "/docsx", 418, ""},
	} {
		w := ask(tc.method, tc.target)
		if w.Code != tc.status || w.Header().Get("Content-Type") != tc.kind {
			t.Errorf("%s: %d, %s; want %d, %s", tc.reason, w.Code, w.Header().Get("Content-Type"), tc.status, tc.kind)
		}
		if n := w.Body.Len(); tc.method == "HEAD" && n != 0 {
			t.Errorf("%s: a body of %d", tc.reason, n)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if tc.status != 418 && (!strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe")) {
			t.Errorf("%s: Content-Security-Policy %q", tc.reason, policy)
		}
	}
}

// TestFigures: a figure has its colours in itself, and may do nothing else when it is opened by itself.
func TestFigures(t *testing.T) {
	for _, name := range []string{"check-cost", "proxies", "refusal"} {
		w := ask("GET", "/docs/figures/"+name+".svg")
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/svg+xml" ||
			policy != "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox" {
			t.Errorf("%s: %d, %v", name, w.Code, w.Header())
		}
		for _, never := range []string{"<script", "href", "url(", "@import"} {
			if strings.Contains(w.Body.String(), never) {
				t.Errorf("%s has %q", name, never)
			}
		}
		if page := ask("GET", "/docs/benchmarks").Body.String(); !strings.Contains(page, `src="figures/`+name+`.svg"`) {
			t.Errorf("the page of benchmarks does not show %s", name)
		}
	}
}

func TestCached(t *testing.T) {
	for _, target := range []string{"/docs/", "/docs/http-api", "/docs/http-api.md", "/docs/style.css", "/llms.txt"} {
		plain, zipped := ask("GET", target), ask("GET", target, "Accept-Encoding", "br, gzip;q=0.8")
		unpacked, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if text, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(text, plain.Body.Bytes()) {
			t.Errorf("%s: compressed, it is another text, %v", target, err)
		}
		for _, w := range []*httptest.ResponseRecorder{plain, zipped} {
			h := w.Header()
			if !strings.HasPrefix(h.Get("Cache-Control"), "public, max-age=") || h.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s: %v", target, h)
			}
			again := ask("GET", target, "Accept-Encoding", h.Get("Content-Encoding"), "If-None-Match", `"x", W/`+h.Get("ETag"))
			if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
				t.Errorf("%s: asked again, %d", target, again.Code)
			}
		}
		if plain.Header().Get("ETag") == zipped.Header().Get("ETag") {
			t.Errorf("%s: two texts have one ETag", target)
		}
		if no := ask("GET", target, "Accept-Encoding", "gzip;q=0"); no.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: compressed for somebody who does not take it", target)
		}
	}
}

// pages are the paths of all pages.
func pages(t *testing.T) (paths []string) {
	t.Helper()
	for _, m := range markdownLink.FindAllStringSubmatch(ask("GET", "/llms.txt").Body.String(), -1) {
		if path, ok := strings.CutSuffix(strings.TrimPrefix(m[1], origin), ".md"); ok {
			paths = append(paths, path)
		}
	}
	if len(paths) < 12 {
		t.Fatalf("only %q", paths)
	}
	return paths
}

// TestPagesAreSmall: a page and its style, compressed.
func TestPagesAreSmall(t *testing.T) {
	style := ask("GET", "/docs/style.css", "Accept-Encoding", "gzip").Body.Len()
	for _, path := range pages(t) {
		if size := ask("GET", path, "Accept-Encoding", "gzip").Body.Len() + style; size > 60_000 {
			t.Errorf("%s: %d bytes", path, size)
		}
	}
}

// TestNoScript: pages hold no HTML of a text but line breaks, no script, and no style of their own.
func TestNoScript(t *testing.T) {
	for _, path := range pages(t) {
		page := ask("GET", path).Body.String()
		if strings.Contains(page, "raw HTML omitted") {
			t.Errorf("%s: HTML in its text is shown as left out", path)
		}
		for z := html.NewTokenizer(strings.NewReader(page)); z.Next() != html.ErrorToken; {
			token := z.Token()
			for _, a := range token.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(strings.ToLower(a.Val), "javascript:") {
					t.Errorf("%s: %s has %s=%q", path, token.Data, a.Key, a.Val)
				}
			}
			if slices.Contains([]string{"script", "style", "iframe", "form"}, token.Data) {
				t.Errorf("%s: has a %s", path, token.Data)
			}
		}
	}
	if observability := ask("GET", "/docs/observability").Body.String(); !strings.Contains(observability, "<br>") {
		t.Error("lines of tables are not broken")
	}
}
