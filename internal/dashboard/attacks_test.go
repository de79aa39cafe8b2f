// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// asked is a request that no browser of the person's own pages makes.
func (w *world) asked(t *testing.T, method, path, body string, change func(*http.Request)) (int, http.Header, string) {
	t.Helper()
	r := httptest.NewRequest(method, "https://api.example.com"+dashboard.Base+path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	change(r)
	a := httptest.NewRecorder()
	w.dashboard.ServeHTTP(a, r)
	text, err := io.ReadAll(a.Result().Body)
	check(t, err)
	return a.Code, a.Result().Header, string(text)
}

// TestAttacksOnSessions: another site gets nothing done by a browser that is signed in, whichever screen it aims at;
// nobody's page frames one of these; and a cookie that somebody else has put there makes nobody anybody.
func TestAttacksOnSessions(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "viewer", "letmepost-apikey-viewer")
	v := w.signedIn(t, token, acme)
	cookie := func() string { return v.cookie(dashboard.CookieName(key.Live)) }
	session := cookie()
	with := func(headers ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Cookie", dashboard.CookieName(key.Live)+"="+session)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
		}
	}
	patterns := w.dashboard.Patterns()
	if p := w.dashboard.Pattern(httptest.NewRequest(http.MethodGet, dashboard.Base+"/nowhere", http.NoBody)); p != "" {
		t.Errorf("what there is not is called %q", p)
	}
	for _, s := range dashboard.Screens(w.dashboard) {
		if s.Path == "/sign-out" { // it would be
			continue
		}
		path := strings.NewReplacer("{$}", "", "{namespace}", "x", "{name}", "x", "{id}", "x").Replace(s.Path)
		if p := w.dashboard.Pattern(httptest.NewRequest(s.Method, dashboard.Base+path, http.NoBody)); !slices.Contains(patterns, p) {
			t.Errorf("%s %s: metrics and logs have no name for it: %q", s.Method, path, p)
		}
		status, header, _ := w.asked(t, s.Method, path, "", with("Sec-Fetch-Site", "same-origin"))
		if !strings.Contains(header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d, %v", s.Method, path, status, header)
		}
		if s.Method != http.MethodPost {
			continue
		}
		for reason, headers := range map[string][]string{
			"a form or fetch of another site": {"Sec-Fetch-Site", "cross-site"},
			"a sibling's":                     {"Sec-Fetch-Site", "same-site"},
			"an old browser's":                {"Origin", "https://evil.example"},
			"a frame without an origin":       {"Origin", "null"},
		} {
			if status, _, _ := w.asked(t, s.Method, path, "", with(headers...)); status != http.StatusForbidden {
				t.Errorf("%s %s, %s: %d", s.Method, path, reason, status)
			}
		}
	}
	if status, header, _ := w.asked(t, http.MethodGet, "/", "", with()); status != http.StatusOK {
		t.Fatalf("who is signed in is not any more: %d to %s", status, header.Get("Location"))
	}
	for _, c := range []struct {
		reason string
		change func(*http.Request)
	}{
		{"the cookie of the other environment", func(r *http.Request) {
			r.Header.Set("Cookie", dashboard.CookieName(key.Test)+"="+session)
		}},
		{"a cookie that a sibling has put beside it", func(r *http.Request) {
			r.Header.Set("Cookie", dashboard.CookieName(key.Live)+"="+session+"; "+dashboard.CookieName(key.Live)+"=other")
		}},
		{"a cookie without its prefix", func(r *http.Request) { r.Header.Set("Cookie", "letmepost-live="+session) }},
		{"nobody's", func(r *http.Request) { r.Header.Set("Cookie", dashboard.CookieName(key.Live)+"=nobody") }},
	} {
		status, header, _ := w.asked(t, http.MethodGet, "/", "", c.change)
		if status != http.StatusSeeOther || !strings.HasPrefix(header.Get("Location"), dashboard.Base+"/sign-in") {
			t.Errorf("%s: %d, %s", c.reason, status, header.Get("Location"))
		}
	}
	// Fixation: whoever signs in has a token of their own, and the one that was there before is over.
	if p := v.post("/sign-in", url.Values{"token": {token}}); p.status != http.StatusOK || cookie() == session {
		t.Errorf("%d, with the same token as before: %v", p.status, cookie() == session)
	}
	if status, _, _ := w.asked(t, http.MethodGet, "/", "", with()); status != http.StatusSeeOther {
		t.Errorf("the session from before is shown a page: %d", status)
	}
}

// TestNext: whoever signs in goes on in the dashboard, wherever they were led here from.
func TestNext(t *testing.T) {
	w := newWorld(t)
	token := w.credential(t, w.cluster.Namespace(t), "viewer", "letmepost-apikey-viewer")
	for wanted, want := range map[string]string{
		"/dashboard/keys?state=active":      "/dashboard/keys?state=active",
		"https://evil.example":              "/dashboard/",
		"//evil.example":                    "/dashboard/",
		"/dashboard//evil.example":          "/dashboard/",
		"/dashboard/\\evil.example":         "/dashboard/",
		"/dashboard/../v1/posts":            "/dashboard/",
		"/dashboard.evil.example":           "/dashboard/",
		"/dashboard/x\r\nSet-Cookie: a=b":   "/dashboard/",
		"javascript:alert(1)":               "/dashboard/",
		"/dashboard@evil.example/dashboard": "/dashboard/",
		"":                                  "/dashboard/",
	} {
		form := url.Values{"token": {token}, "next": {wanted}}
		status, header, _ := w.asked(t, http.MethodPost, "/sign-in", form.Encode(), func(*http.Request) {})
		if got := header.Get("Location"); status != http.StatusSeeOther || got != want || len(header["Set-Cookie"]) != 1 {
			t.Errorf("%q: %d to %q, want %q; %q", wanted, status, got, want, header["Set-Cookie"])
		}
	}
}

// TestPlainHTTP: a token is asked for, and taken, only where nobody on the way reads it.
func TestPlainHTTP(t *testing.T) {
	w := newWorld(t)
	token := w.credential(t, w.cluster.Namespace(t), "viewer", "letmepost-apikey-viewer")
	form := url.Values{"token": {token}}.Encode()
	for _, c := range []struct {
		reason, host, header, value string
		may                         bool
	}{
		{"plain HTTP", "api.example.com", "", "", false},
		{"a page of plain HTTP", "api.example.com", "Origin", "http://api.example.com", false},
		{"a proxy that ends HTTPS", "api.example.com", "Origin", "https://api.example.com", true},
		{"the same, as the browser says", "api.example.com", "Sec-Fetch-Site", "same-origin", true},
		{"loopback", "127.0.0.1:17600", "", "", true},
		{"loopback by its name", "localhost:17600", "", "", true},
		{"loopback of IPv6", "[::1]:17600", "", "", true},
		{"a name that begins like it", "127.0.0.1.example.com", "", "", false},
		{"a private network", "10.0.0.1", "", "", false},
	} {
		plain := func(r *http.Request) {
			r.TLS, r.Host = nil, c.host
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
		}
		_, _, page := w.asked(t, http.MethodGet, "/sign-in", "", plain)
		status, header, _ := w.asked(t, http.MethodPost, "/sign-in", form, plain)
		if strings.Contains(page, "<textarea") != c.may || (status == http.StatusSeeOther) != c.may || (len(header["Set-Cookie"]) > 0) != c.may {
			t.Errorf("%s: %d, %q", c.reason, status, header["Set-Cookie"])
		}
	}
}
