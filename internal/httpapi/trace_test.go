// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/tracing"
	"github.com/letmepost/letmepost-operator/internal/tracing/tracingtest"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// tracedFixture records every trace that begins in it. stop sends the spans.
func tracedFixture(
	t *testing.T, objects []any, mods ...func(*parts),
) (f *fixture, collector *tracingtest.Collector, stop func()) {
	t.Helper()
	collector = tracingtest.Start(t)
	traces, err := tracing.New(t.Context(), tracing.Options{
		Endpoint: collector.URL, Ratio: 1, Service: "letmepost-api", Instance: "here", Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, objects, append(mods, func(c *parts) {
		c.Tracer = traces.Tracer()
		c.NewRequestID = func() string { return "id" }
	})...)
	return f, collector, func() { traces.Stop(t.Context()) }
}

func TestSpanOfARequest(t *testing.T) {
	k, plaintext := live(t)
	_, unknown := live(t)
	with := func(attributes ...any) map[string]any {
		all := map[string]any{"lmp.environment": "live", "lmp.request.id": "id"}
		for i := 0; i < len(attributes); i += 2 {
			all[attributes[i].(string)] = attributes[i+1]
		}
		return all
	}
	for _, tc := range []struct {
		reason, method, target, bearer string
		name                           string
		attributes                     map[string]any
	}{
		{"it is served", "GET", "/v1/whoami", plaintext, "GET /v1/whoami", with("http.request.method", "GET", "http.route", "/v1/whoami",
			"http.response.status_code", int64(200), "lmp.key.id", string(k.UID))},
		{"it is refused", "GET", "/v1/whoami", unknown, "GET /v1/whoami", with("http.request.method", "GET", "http.route", "/v1/whoami",
			"http.response.status_code", int64(401), "lmp.refusal", "unknown")},
		{"there is no such path, and a key in it", "GET", "/v2/" + plaintext, plaintext, "GET", with("http.request.method", "GET",
			"http.response.status_code", int64(404))},
		{"there is no such method", plaintext, "/v1/whoami", plaintext, "HTTP /v1/whoami", with("http.request.method", "_OTHER", "http.route", "/v1/whoami",
			"http.response.status_code", int64(405))},
		{"the route has a parameter", "GET", "/v1/profiles/none", plaintext, "GET /v1/profiles/{id}", with("http.request.method", "GET", "http.route", "/v1/profiles/{id}",
			"http.response.status_code", int64(404), "lmp.key.id", string(k.UID))},
	} {
		f, collector, stop := tracedFixture(t, []any{k})
		f.do(tc.method, tc.target, tc.bearer)
		stop()
		spans := collector.Spans()
		if len(spans) != 1 {
			t.Errorf("%s: %d spans, want 1", tc.reason, len(spans))
			continue
		}
		got := spans[0]
		if got.Kind != "SPAN_KIND_SERVER" || got.Name != tc.name || got.Failed || got.ParentID != "" {
			t.Errorf("%s: %+v, want the name %s", tc.reason, got, tc.name)
		}
		if diff := cmp.Diff(tc.attributes, got.Attributes); diff != "" {
			t.Errorf("%s: attributes (-want +got):\n%s", tc.reason, diff)
		}
	}
}

// A request that fails for reasons of ours has a failed span.
func TestSpanOfAFailure(t *testing.T) {
	k, plaintext := live(t)
	f, collector, stop := tracedFixture(t, []any{k})
	f.serving.Store(false)
	f.do(http.MethodGet, "/v1/whoami", plaintext)
	stop()
	if spans := collector.Spans(); len(spans) != 1 || !spans[0].Failed || spans[0].Attributes["error.type"] != "503" {
		t.Errorf("got %+v, want one failed span with error.type 503", spans)
	}
}

// A post passes through all rooms, and its trace is the caller's.
func TestTraceOfAPost(t *testing.T) {
	k, plaintext := authntest.Minted(t, authntest.Format(t), key.Live)
	var audit testlog.Buffer
	f, collector, stop := tracedFixture(t, []any{k}, func(c *parts) {
		c.AccessLog = endpoint.AccessLogAll
		c.Audit = slog.New(slog.NewJSONHandler(&audit, nil))
	})
	send := func(method, target, traceparent, body string) {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+plaintext)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", plaintext)
		r.Header.Set("Traceparent", traceparent)
		r.Header.Set("Tracestate", "vendor="+plaintext)
		f.ServeHTTP(httptest.NewRecorder(), r)
	}
	send(http.MethodGet, "/v1/posts?limit="+plaintext, "00-"+callersTrace+"-"+callersSpan+"-00", "") // its caller records nothing
	send(http.MethodGet, "/v1/posts", "00-"+callersTrace+"-"+callersSpan+"-01", "")
	send(http.MethodPost, "/v1/posts", "00-"+callersTrace+"-"+callersSpan+"-01", `{"text":"`+plaintext+`"}`)
	stop()

	byID, seen := map[string]tracingtest.Span{}, map[string]int{}
	for _, s := range collector.Spans() {
		byID[s.ID] = s
		seen[s.Name]++
		if s.TraceID != callersTrace {
			t.Errorf("%s is of trace %s", s.Name, s.TraceID)
		}
		if s.Kind == "SPAN_KIND_SERVER" && s.ParentID != callersSpan {
			t.Errorf("%s has the parent %s, want the caller's span", s.Name, s.ParentID)
		}
	}
	// A request that comes to nothing looks whether it had an answer before.
	reads := []string{"GET /v1/posts", "POST /v1/posts"}
	for _, s := range byID {
		parent := byID[s.ParentID]
		if s.Name == "store read" && (!slices.Contains(reads, parent.Name) || s.Attributes["db.system.name"] != "sqlite") {
			t.Errorf("%+v is below %q", s, parent.Name)
		}
	}
	if seen["GET /v1/posts"] != 1 || seen["POST /v1/posts"] != 1 || seen["store read"] == 0 {
		t.Errorf("spans: %v", seen)
	}
	for _, form := range []string{"lmp_live_", "lmp_test_", plaintext[12:36], strings.TrimPrefix(k.Status.Hash, "bound:")} {
		if bytes.Contains(collector.Raw(), []byte(form)) || strings.Contains(f.log.String()+audit.String(), form) {
			t.Errorf("%s was sent, or logged", form)
		}
	}
	if n := strings.Count(f.log.String(), `"traceId":"`+callersTrace+`"`); n != 2 {
		t.Errorf("%d records name the trace, want the 2 of the requests that are recorded:\n%s", n, f.log)
	}
}
