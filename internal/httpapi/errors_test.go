// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestUnknownRoutes(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	want := seen(t, f.do(http.MethodGet, "/", plaintext))
	if want.Status != http.StatusNotFound {
		t.Fatalf("status %d", want.Status)
	}
	golden(t, "no_route.json", want.Body)
	for _, target := range []string{
		"/v1", "/v1/", "/v1/nothing", "/v1/whoami/", "//v1/whoami", "/v1//whoami", "/v1/./whoami", "/x/../v1/whoami",
		"/v1/%77hoami", "/v1%2Fwhoami", "/V1/WHOAMI", "/v1/profiles/", "/v1/profiles/a/b", "/metrics", "/debug/pprof/", "/v1/whoami;x=y",
	} {
		if diff := cmp.Diff(want, seen(t, f.do(http.MethodGet, target, plaintext))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
	r := httptest.NewRequest(http.MethodOptions, "/", nil)
	r.URL.Path, r.RequestURI = "*", "*"
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if diff := cmp.Diff(want, seen(t, w)); diff != "" {
		t.Errorf("OPTIONS * (-want +got):\n%s", diff)
	}
}

func TestWrongMethods(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct{ method, target, allow string }{
		{http.MethodPost, "/v1/whoami", "GET, HEAD"},
		{http.MethodOptions, "/v1/whoami", "GET, HEAD"},
		{"get", "/v1/whoami", "GET, HEAD"}, // methods are case-sensitive
		{http.MethodPut, "/v1/profiles/x", "GET, HEAD"},
		{http.MethodDelete, "/v1/api-keys", "GET, HEAD, POST"},
		{http.MethodGet, "/v1/api-keys/x", "DELETE"},
		{http.MethodHead, "/v1/api-keys/x", "DELETE"},
		{http.MethodPost, "/v1/openapi.json", "GET, HEAD"},
		{http.MethodPost, "/healthz", "GET, HEAD"},
	} {
		w := f.do(c.method, c.target, "")
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q, want 405 with %q", c.method, c.target, w.Code, w.Header().Get("Allow"), c.allow)
		}
		if c.method == http.MethodHead {
			continue
		}
		if e := errorOf(t, w); e.Code != "validation_failed" || e.Rule != "method" {
			t.Errorf("%s %s: %+v", c.method, c.target, e)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k})
	const made = ""
	for _, c := range []struct {
		reason string
		sent   []string
		want   string
	}{
		{"none", nil, made},
		{"a valid one", []string{"Aa0._-"}, "Aa0._-"},
		{"the longest", []string{strings.Repeat("x-", 64)}, strings.Repeat("x-", 64)},
		{"a trace id", []string{strings.Repeat("0f", 16)}, strings.Repeat("0f", 16)},
		{"a word as long as the secret part of a key", []string{strings.Repeat("x", 38)}, ""},
		{"too long", []string{strings.Repeat("x", 129)}, made},
		{"empty", []string{""}, made},
		{"two", []string{"a", "b"}, made},
		{"a space", []string{"a b"}, made},
		{"a line break, which would forge a log line", []string{"a\nb"}, made},
		{"a quote", []string{`a"b`}, made},
		{"a slash", []string{"a/b"}, made},
		{"non-ASCII", []string{"é"}, made},
		{"a key, which would be logged", []string{"x" + plaintext}, made},
	} {
		for _, target := range []string{"/v1/whoami", "/v1/profiles/none", "/nowhere", "/healthz"} {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			r.Header.Set("Authorization", "Bearer "+plaintext)
			if c.sent != nil {
				r.Header["X-Request-Id"] = c.sent
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			got := w.Header()["X-Request-Id"]
			if len(got) != 1 || c.want != made && got[0] != c.want || c.want == made && !strings.HasPrefix(got[0], "made-") {
				t.Errorf("%s, %s: X-Request-Id %q", c.reason, target, got)
			}
			if w.Code >= 400 && errorOf(t, w).RequestID != got[0] {
				t.Errorf("%s, %s: header %q, body %s", c.reason, target, got, w.Body)
			}
		}
	}
}

// stub is an Authenticator that does what it is told.
type stub func() error

func (s stub) Admit(context.Context, time.Time, []string, *authn.Flight) error { return s() }

func (s stub) AdmitSession(context.Context, func(context.Context) (authn.Session, error), *authn.Flight) error {
	return s()
}

func (s stub) AdmitKey(context.Context, caller.Organization, types.UID, *authn.Flight) error {
	return s()
}

func (stub) Known([]string) *caller.Caller { return new(caller.Caller) }

func TestPanics(t *testing.T) {
	_, plaintext := live(t)
	for _, c := range []struct {
		reason string
		value  any
		logged string
	}{
		{"a text that quotes a key", "cannot parse " + plaintext, `"panic":"cannot parse [redacted]"`},
		{"an error", fmt.Errorf("bad %w", errors.New("thing")), `"panic":"bad thing"`},
		{"a value", 7, `"panic":"7"`},
	} {
		f := newFixture(t, nil, func(config *parts) {
			config.Admission.Authenticator = stub(func() error { panic(c.value) })
		})
		w := f.do(http.MethodGet, "/v1/whoami", plaintext)
		got := seen(t, w)
		if got.Status != http.StatusInternalServerError {
			t.Errorf("%s: status %d", c.reason, got.Status)
		}
		golden(t, "internal_error.json", got.Body)
		log := f.log.String()
		if !strings.Contains(log, c.logged) || !strings.Contains(log, "authentication_test.go") && !strings.Contains(log, "errors_test.go") {
			t.Errorf("%s: the log holds no %s, or no stack: %s", c.reason, c.logged, log)
		}
		if strings.Contains(log, plaintext) {
			t.Errorf("%s: the log holds the key: %s", c.reason, log)
		}
		if w := f.do(http.MethodGet, "/healthz", ""); w.Code != http.StatusOK {
			t.Errorf("%s: the next request: %d", c.reason, w.Code)
		}
	}
}

func TestAbortGoesOn(t *testing.T) {
	f := newFixture(t, nil, func(config *parts) {
		config.Admission.Authenticator = stub(func() error { panic(http.ErrAbortHandler) })
	})
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("recovered %v, want http.ErrAbortHandler", err)
		}
	}()
	f.do(http.MethodGet, "/v1/whoami", "x")
}

// An error of unknown kind is told to the log, and not to the caller.
func TestUnknownErrors(t *testing.T) {
	_, plaintext := live(t)
	f := newFixture(t, nil, func(config *parts) {
		config.Admission.Authenticator = stub(func() error { return errors.New("disk 7 holds " + plaintext) })
		config.AccessLog = endpoint.AccessLogNone // a 500 is logged all the same
	})
	w := f.do(http.MethodGet, "/v1/whoami", plaintext)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if log := f.log.String(); !strings.Contains(log, `"error":"disk 7 holds [redacted]"`) || strings.Contains(log, plaintext) {
		t.Errorf("log: %s", log)
	}
}

// Before the index is complete, and while it may be behind, nobody is let in, and nobody is told that a key is unknown.
func TestNotReady(t *testing.T) {
	k, plaintext := live(t)
	ready := false
	draining := false
	f := newFixture(t, []any{k}, func(config *parts) {
		config.Ready = func() bool { return ready }
		config.Draining = func() bool { return draining }
	})
	f.serving.Store(false)
	check := func(when, target string, want int) {
		t.Helper()
		if w := f.do(http.MethodGet, target, plaintext); w.Code != want {
			t.Errorf("%s: GET %s: %d, want %d", when, target, w.Code, want)
		}
	}
	for _, key := range []string{plaintext, "", "nonsense"} {
		w := f.do(http.MethodGet, "/v1/whoami", key)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("not ready, key %q: %d, Retry-After %q", key, w.Code, w.Header().Get("Retry-After"))
		}
		golden(t, "unavailable.json", seen(t, w).Body)
	}
	check("not ready", "/readyz", 503)
	check("not ready", "/healthz", 200)
	check("not ready", "/v1/openapi.json", 200)
	f.serving.Store(true)
	check("serving, but not ready", "/v1/whoami", 200)
	check("serving, but not ready", "/readyz", 503)
	ready = true
	check("ready", "/readyz", 200)
	check("ready", "/v1/whoami", 200)
	draining = true
	check("draining", "/readyz", 503)
	check("draining", "/healthz", 200)
	check("draining", "/v1/whoami", 200)
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
	f := newFixture(t, nil)
	if _, err := New(f.config); err == nil || !strings.Contains(err.Error(), "duplicate") {
		t.Errorf("two on one registry: got %v", err)
	}
	c := f.config
	c.Environment = "staging"
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "staging") {
		t.Errorf("unknown environment: got %v", err)
	}
}
