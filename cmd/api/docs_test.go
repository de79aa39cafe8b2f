// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

// TestDocs: where errors say that they are documented, and that this is there if it is here.
func TestDocs(t *testing.T) {
	for _, tc := range []struct {
		reason, args, base string
		served             bool
	}{
		{"no public URL", "", "", true},
		{"a public URL", "--public-url https://api.example.com", "https://api.example.com/docs", true},
		{"with a slash", "--public-url https://api.example.com/", "https://api.example.com/docs", true},
		{"elsewhere", "--public-url https://api.example.com --docs-base-url https://docs.example.com", "https://docs.example.com", true},
		{"switched off", "--public-url https://api.example.com --docs=false", "", false},
	} {
		o, err := parse(strings.Fields("--environment test "+tc.args), noEnv, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.docs.base(o.publicURL); got != tc.base {
			t.Errorf("%s: errors are documented at %q, want %q", tc.reason, got, tc.base)
		}
		unwatched := func(pages http.Handler, _ func(*http.Request) string, _ ...string) http.Handler { return pages }
		handler := o.docs.before(http.NotFoundHandler(), o.publicURL, unwatched)
		for _, path := range []string{"/llms.txt", "/docs/", "/docs" + problem.DocPath(problem.CodeUnauthenticated), "/docs" + problem.RulePath("limit")} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if served := w.Code == http.StatusOK || w.Code == http.StatusFound; served != tc.served {
				t.Errorf("%s: %s is answered %d", tc.reason, path, w.Code)
			}
		}
	}
}
