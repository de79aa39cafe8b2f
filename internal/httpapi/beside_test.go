// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// TestBeside: pages that stand beside the API are in the log, the metrics and the traces by the pattern of their path,
// whatever callers make of it: served, missing, broken, and with an id of their own.
func TestBeside(t *testing.T) {
	f, collector, stop := tracedFixture(t, nil, func(c *parts) { c.AccessLog = endpoint.AccessLogAll })
	pages := f.Beside(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name := strings.TrimPrefix(r.URL.Path, "/pages/"); name {
		case "missing":
			w.WriteHeader(http.StatusNotFound)
		case "broken":
			w.Header().Set("X-Request-Id", "pages-own")
			w.WriteHeader(http.StatusBadGateway)
		case "panics":
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, name)
		}
	}), func(r *http.Request) string {
		if strings.HasPrefix(r.URL.Path, "/pages/") {
			return "/pages/{name}"
		}
		return r.URL.Path // which is none of those that there are
	}, "/pages/{name}")
	ask := func(method, path string) {
		defer func() { _ = recover() }()
		pages.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, http.NoBody))
	}
	ask(http.MethodGet, "/pages/lmp_live_in-the-path")
	before := series(t, f)
	for i := range 50 {
		ask(http.MethodGet, fmt.Sprint("/pages/", i))
	}
	if after := series(t, f); after != before {
		t.Errorf("%d series after one page, %d after 50", before, after)
	}
	f.log.Reset()
	for _, path := range []string{"/pages/missing", "/pages/broken", "/pages/panics", "/elsewhere", "/elsewhere/else"} {
		ask(http.MethodGet, path)
	}
	ask("BREW", "/pages/tea")
	line := func(level, id, method, route string, status float64) map[string]any {
		return map[string]any{
			"level": level, "msg": "request", "requestId": id, "method": method, "route": route, "status": status, "durationMs": 0.0,
		}
	}
	got := records(t, f)
	for _, r := range got {
		delete(r, "traceId")
	}
	if diff := cmp.Diff([]map[string]any{
		line("INFO", "id", "GET", "/pages/{name}", 404), line("WARN", "pages-own", "GET", "/pages/{name}", 502),
		line("ERROR", "id", "GET", "/pages/{name}", 500), line("INFO", "id", "GET", "unmatched", 200),
		line("INFO", "id", "GET", "unmatched", 200), line("INFO", "id", "_OTHER", "/pages/{name}", 200),
	}, got); diff != "" {
		t.Errorf("the access log (-want +got):\n%s", diff)
	}
	for labels, want := range map[[3]string]float64{
		{"/pages/{name}", "GET", "200"}: 51, {"/pages/{name}", "GET", "404"}: 1, {"/pages/{name}", "GET", "502"}: 1,
		{"/pages/{name}", "GET", "500"}: 1, {"/pages/{name}", "_OTHER", "200"}: 1, {"unmatched", "GET", "200"}: 2,
	} {
		if got := f.requests(t, labels[0], labels[1], labels[2]); got != want {
			t.Errorf("lmp_http_requests_total%v: %v, want %v", labels, got, want)
		}
	}
	stop()
	var names []string
	for _, s := range collector.Spans() {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	if want := []string{"GET", "GET /pages/{name}", "HTTP /pages/{name}"}; !slices.Equal(slices.Compact(names), want) {
		t.Errorf("spans %q, want %q", slices.Compact(names), want)
	}
}
