// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// Whatever callers send, they make no new time series.
func TestLabelsAreBounded(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	flood := func(n int) {
		for i := range n {
			f.do(http.MethodGet, fmt.Sprintf("/v1/profiles/%d", i), plaintext)
			f.do(http.MethodGet, fmt.Sprintf("/nowhere/%d", i), plaintext)
			f.do(http.MethodGet, fmt.Sprintf("/v1/whoami?x=%d", i), plaintext)
			f.do(fmt.Sprintf("M%d", i), "/v1/whoami", plaintext)
			f.doHeaders(http.MethodGet, "/v1/whoami", []string{fmt.Sprint("Bearer ", i)})
		}
	}
	flood(1)
	before := series(t, f)
	flood(200)
	if after := series(t, f); after != before {
		t.Errorf("%d series after one request of each kind, %d after 200", before, after)
	}
	for labels, want := range map[[3]string]float64{
		{"/v1/profiles/{id}", "GET", "404"}: 201,
		{"unmatched", "GET", "404"}:         201,
		{"/v1/whoami", "GET", "400"}:        201,
		{"/v1/whoami", "GET", "401"}:        201,
		{"/v1/whoami", "_OTHER", "405"}:     201,
	} {
		if got := f.requests(t, labels[0], labels[1], labels[2]); got != want {
			t.Errorf("lmp_http_requests_total%v: %v, want %v", labels, got, want)
		}
	}
}

func series(t *testing.T, f *fixture) int {
	t.Helper()
	n, err := testutil.GatherAndCount(f.registry)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDurationsAreObserved(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	f.do(http.MethodGet, "/v1/whoami", plaintext)
	f.do(http.MethodGet, "/nowhere", plaintext)
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, family := range families {
		for _, m := range family.Metric {
			if family.GetName() == "lmp_http_request_duration_seconds" && m.Histogram.GetSampleCount() > 0 {
				got[m.Label[0].GetValue()] = m.Histogram.GetSampleCount()
			}
		}
	}
	if diff := cmp.Diff(map[string]uint64{"/v1/whoami": 1, "unmatched": 1}, got); diff != "" {
		t.Errorf("samples by route (-want +got):\n%s", diff)
	}
}

// maxEntries is how many entries of one kind there may be at one moment.
const maxEntries = 100

// records are the lines of the log.
func records(t *testing.T, f *fixture) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(f.log.String()) {
		r := decode[map[string]any](t, line)
		delete(r, "time")
		all = append(all, r)
	}
	f.log.Reset()
	return all
}

func TestRecords(t *testing.T) {
	k, plaintext := live(t, authntest.Named("ci"))
	refused := map[string]any{
		"level": "INFO", "msg": "Request refused", "requestId": "id", "method": "GET", "route": "/v1/whoami", "status": 401.0,
		"durationMs": 0.0, "event": "request.refused", "refusal": "missing",
	}
	missed := map[string]any{
		"level": "INFO", "msg": "request", "requestId": "id", "method": "GET", "route": "/v1/profiles/{id}", "status": 404.0,
		"durationMs": 0.0, "keyId": string(k.UID), "key": "acme/ci",
	}
	invalid := map[string]any{
		"level": "INFO", "msg": "request", "requestId": "id", "method": "GET", "route": "/v1/profiles", "status": 400.0,
		"durationMs": 0.0, "keyId": string(k.UID), "key": "acme/ci", "rule": "limit",
	}
	served := map[string]any{
		"level": "INFO", "msg": "request", "requestId": "id", "method": "GET", "route": "/v1/whoami", "status": 200.0,
		"durationMs": 0.0, "keyId": string(k.UID), "key": "acme/ci",
	}
	for mode, want := range map[endpoint.AccessLog][]map[string]any{
		"":                       {refused, missed, invalid},
		endpoint.AccessLogErrors: {refused, missed, invalid},
		endpoint.AccessLogAll:    {refused, missed, invalid, served},
		endpoint.AccessLogNone:   {refused},
	} {
		f := newFixture(t, []any{k}, func(c *parts) {
			c.AccessLog = mode
			c.NewRequestID = func() string { return "id" }
		})
		f.do(http.MethodGet, "/v1/whoami", "")
		f.do(http.MethodGet, "/v1/profiles/none", plaintext)
		f.do(http.MethodGet, "/v1/profiles?limit=x", plaintext)
		f.do(http.MethodGet, "/v1/whoami", plaintext)
		if diff := cmp.Diff(want, records(t, f)); diff != "" {
			t.Errorf("access log %q (-want +got):\n%s", mode, diff)
		}
	}
}

// What is wrong with a request is logged by its rule, wherever it was found out. Whoever has asked too often is told by
// the status alone.
func TestRecordsNameTheRule(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	p := &played{}
	f := newFixture(t, nil, playing(t, p), func(c *parts) { c.Library, c.Wait = smallLibrary(t), -1 })
	key, patient := f.newKey(t), f.newKey(t, limited(1))
	account := f.connect(t, key)
	ok[batch](t, f, hello(key, account))
	f.do(http.MethodGet, "/v1/whoami", patient)
	begun := hello(key, account).with("Idempotency-Key", "begun")
	f.begun(t, begun, neverWas[aPost]) // whose posts are about to be undone
	p.publish = func() error { close(entered); <-release; return nil }
	running := hello(key, account).with("Idempotency-Key", "running")
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- f.send(running) }()
	<-entered
	other := hello(key, account)
	other.body = strings.Replace(other.body, "hello", "hullo", 1)
	for _, c := range []struct {
		reason string
		s      sent
		status float64
		rule   any // nil: none
	}{
		{"the same request runs", running, 409, "idempotency_key.in_progress"},
		{"it runs in another process, which lives", begun, 409, "idempotency_key.in_progress"},
		{"another body", other, 409, "idempotency_key.body_mismatch"},
		{"a file of no type that is taken", uploadOf(key, "text"), 400, "media.type"},
		{"a file that is too large", uploadOf(key, "GIF89a"+strings.Repeat("x", 2000)), 413, "media.size_max"},
		{"no such method", sent{method: http.MethodPut, target: "/v1/posts", key: key}, 405, "method"},
		{"too many requests", sent{method: http.MethodGet, target: "/v1/whoami", key: patient}, 429, nil},
	} {
		f.log.Reset()
		f.send(c.s)
		all := records(t, f)
		if len(all) != 1 || all[0]["status"] != c.status || all[0]["rule"] != c.rule || all[0]["error"] != nil {
			t.Errorf("%s: %v, want one record with %v, the rule %v and no error", c.reason, all, c.status, c.rule)
		}
	}
	close(release)
	checkStatus(t, "the one that ran", <-done, http.StatusOK)
}

// A key in any place of a request gets into no record.
func TestRecordsHoldNoKey(t *testing.T) {
	k, plaintext := live(t)
	_, unknown := live(t)
	f := newFixture(t, []any{k}, func(c *parts) { c.AccessLog = endpoint.AccessLogAll })
	for _, key := range []string{plaintext, unknown} {
		for _, target := range []string{"/v1/whoami", "/v1/profiles/" + key, "/" + key, "/v1/profiles?limit=" + key} {
			for _, method := range []string{http.MethodGet, key} {
				r := httptest.NewRequest(method, target, nil)
				for _, name := range []string{"Authorization", "X-Request-Id", "Cookie", "User-Agent", "Referer"} {
					r.Header.Set(name, key)
				}
				if method == http.MethodGet {
					r.Header.Set("Authorization", "Bearer "+key)
				}
				f.ServeHTTP(httptest.NewRecorder(), r)
			}
		}
		if strings.Contains(f.log.String(), key[9:30]) {
			t.Errorf("the log holds the key: %s", f.log)
		}
	}
	if n := len(records(t, f)); n != 16 {
		t.Errorf("%d records of 16 requests", n)
	}
}

// Anyone can make requests fail. The log says how many it left out.
func TestRecordsAreBounded(t *testing.T) {
	f := newFixture(t, nil)
	for range 1000 {
		f.do(http.MethodGet, "/v1/whoami", "")
	}
	if n := len(records(t, f)); n != maxEntries {
		t.Errorf("%d records of 1000 requests at one moment, want %d", n, maxEntries)
	}
	f.clock.SetTime(now.Add(time.Second))
	f.do(http.MethodGet, "/v1/whoami", "")
	f.do(http.MethodGet, "/v1/whoami", "")
	got := records(t, f)
	if len(got) != 2 || got[0]["suppressed"] != 900.0 || got[1]["suppressed"] != nil {
		text, _ := json.Marshal(got)
		t.Errorf("a second later, got %s", text)
	}
}
