// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestForward: what a route demands, what a key is, and what comes of the two.
func TestForward(t *testing.T) {
	f := newWorld(t)
	for _, c := range f.questions {
		header := bearer(c.key)
		if c.key == "" {
			header = http.Header{}
		}
		got := f.ask(c.query, header)
		if got.Code != c.status || got.Header().Get("X-Letmepost-Refused") != c.code {
			t.Errorf("%s: %d %q %s", c.reason, got.Code, got.Header().Get("X-Letmepost-Refused"), got.Body)
		}
		for _, name := range gate.IdentityHeaders {
			values, there := got.Header()[name]
			if !there || len(values) != 1 {
				t.Errorf("%s: %s is %q: it must be in every answer, once", c.reason, name, values)
			}
			if named := name != "X-Letmepost-Refused" && values[0] != ""; named && c.status != 200 {
				t.Errorf("%s: refused, and %s is %q", c.reason, name, values)
			}
		}
		if (got.Header().Get("Www-Authenticate") != "") != (c.status == 401 || c.code == "unauthorized") {
			t.Errorf("%s: challenge %q", c.reason, got.Header().Get("Www-Authenticate"))
		}
		if (got.Header().Get("Retry-After") != "") != (c.code == "rate_limited") {
			t.Errorf("%s: Retry-After %q", c.reason, got.Header().Get("Retry-After"))
		}
	}
	got := f.ask("", bearer(f.pinnedKey)).Header()
	want := map[string]string{
		"X-Letmepost-Organization": f.pinned.Namespace, "X-Letmepost-Organization-Id": f.pinned.Status.OrganizationID,
		"X-Letmepost-Profile": f.shop.Name, "X-Letmepost-Profile-Id": string(f.shop.UID), "X-Letmepost-Environment": "live",
		"X-Letmepost-Claims": "", "X-Letmepost-Key": f.pinned.Name, "X-Letmepost-Key-Id": string(f.pinned.UID), "X-Letmepost-Refused": "",
		"X-Letmepost-Scopes": "posts:read posts:write media:read media:write accounts:read accounts:write",
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.Get(name), value)
		}
	}

	f.index.RemoveKey(f.org)
	if got := f.ask("", bearer(f.orgKey)); got.Code != http.StatusUnauthorized {
		t.Errorf("revoked: %d", got.Code)
	}
	f.serving.Store(false)
	if got := f.ask("", bearer(f.pinnedKey)); got.Code != http.StatusServiceUnavailable {
		t.Errorf("fenced: %d", got.Code)
	}
}

// longest is a key with as many scopes and claims as one may have, each as long as it may be.
func longest(k *v1alpha1.ApiKey) {
	k.Spec.Scopes, k.Spec.Claims = nil, map[string]v1alpha1.ClaimValue{}
	for i := range v1alpha1.MaxScopes {
		k.Spec.Scopes = append(k.Spec.Scopes, v1alpha1.Scope(fmt.Sprintf("%s.dev:s%02d", strings.Repeat("a", 55), i)))
	}
	for i := range 8 {
		k.Spec.Claims[fmt.Sprintf("%s%d", strings.Repeat("n", 62), i)] = v1alpha1.ClaimValue(strings.Repeat("v", 128))
	}
}

// TestForwardClaims: claims are one header, and so are scopes, however many there are: within what docs/guard.md says a
// proxy has to have room for. What would write a header of its own is left out, should it ever have passed the schema.
func TestForwardClaims(t *testing.T) {
	format := authntest.Format(t)
	billing, billingKey := authntest.Minted(t, format, key.Live,
		authntest.Scoped("billing.example.com:refund", v1alpha1.ScopePostsRead, "billing.example.com:read"),
		authntest.Claiming(map[string]v1alpha1.ClaimValue{
			"plan": "gold", "customer": "acme-42", "Bad": "x", "quoted": `x", admin="yes`, "split": "x\r\nX-Letmepost-Key: admin",
		}))
	large, largeKey := authntest.Minted(t, format, key.Live, longest)
	f := newFixture(t, billing, large)
	got := f.ask("scope=billing.example.com:read", bearer(billingKey))
	for name, want := range map[string]string{
		"X-Letmepost-Scopes": "posts:read billing.example.com:read billing.example.com:refund",
		"X-Letmepost-Claims": `customer="acme-42", plan="gold"`,
		"X-Letmepost-Key":    billing.Name,
	} {
		if values := got.Header()[name]; len(values) != 1 || values[0] != want {
			t.Errorf("%s is %q, want %q", name, values, want)
		}
	}
	refused := f.ask("scope=billing.example.com:write", bearer(billingKey))
	if got := refused.Header().Get("Www-Authenticate"); !strings.HasSuffix(got, ` scope="billing.example.com:write"`) {
		t.Errorf("whoever lacks a scope is told %s", got)
	}
	var wire bytes.Buffer
	if err := f.ask("scope="+url.QueryEscape(string(large.Spec.Scopes[31])), bearer(largeKey)).Header().Write(&wire); err != nil {
		t.Fatal(err)
	}
	if wire.Len() < 3500 || wire.Len() > 4500 {
		t.Errorf("the largest answer has %d bytes of headers", wire.Len())
	}
}

// TestForwardDependsOnTheKeyAlone: nothing else that a client sends, or a proxy forwards, changes the answer.
func TestForwardDependsOnTheKeyAlone(t *testing.T) {
	org, orgKey := authntest.Minted(t, authntest.Format(t), key.Live)
	f := newFixture(t, org)
	want := f.ask("", bearer(orgKey))
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "Forwarded", "X-Original-Url",
		"Cookie", "X-Real-Ip", "Upgrade", "Connection", "Expect", "Proxy-Authorization", "X_Forwarded_Proto",
	} {
		header := bearer(orgKey)
		header[name] = []string{"admin", "/../"}
		got := f.ask("", header)
		if got.Code != want.Code || !cmp.Equal(got.Header(), want.Header()) {
			t.Errorf("%s changes it: %d %v", name, got.Code, got.Header())
		}
	}
}

// TestForwardByAnyMethod: proxies ask by the client's method, and with its body, which is not read; nor is one that is
// announced and does not come.
func TestForwardByAnyMethod(t *testing.T) {
	f := newWorld(t)
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodTrace, http.MethodConnect, "PROPFIND", "QUERY", "X-ANY",
	} {
		for _, c := range []struct {
			key    string
			status int
		}{{f.orgKey, http.StatusOK}, {"nonsense", http.StatusUnauthorized}} {
			body := &unread{}
			r := httptest.NewRequest(http.MethodGet, "/check", body)
			r.Method, r.ContentLength = method, 1<<40
			r.Header = bearer(c.key)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("Allow") != "" {
				t.Errorf("%s: %d %v, want %d", method, w.Code, w.Header(), c.status)
			}
			if body.read {
				t.Errorf("%s: the body was read", method)
			}
		}
	}
}

// unread is a body that says whether it was read.
type unread struct{ read bool }

func (u *unread) Read([]byte) (int, error) {
	u.read = true
	return 0, io.EOF
}

// TestForwardByPath: a question in the path is the proxy's, whatever the client's path and query are.
func TestForwardByPath(t *testing.T) {
	f := newWorld(t)
	for _, c := range []struct {
		reason, target string
		status         int
	}{
		{"as it was configured", "/demand/scope=posts:read&organization=acme/any/path", 200},
		{"for every live key", "/demand//any", 200},
		{"another environment", "/demand/environment=test/any", 401},
		{"and the client's query says which", "/demand/environment=test/any?environment=live", 401},
		{"and the client's path says which", "/demand/environment=test/demand/environment=live/", 401},
		{"and the client's path takes it back", "/demand/environment=test/../environment=live/", 401},
		{"the same, hidden", "/demand/environment=test/%2e%2e/environment=live/", 401},
		{"a client without a path", "/demand/scope=posts:read*", 400},
		{"a query that the client goes on with", "/check?scope=posts:read/any&environment=test", 400},
	} {
		r := httptest.NewRequest(http.MethodGet, c.target, nil)
		r.Header = bearer(f.orgKey)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %s is answered %d, want %d", c.reason, c.target, w.Code, c.status)
		}
	}
}

// TestForwardRefusesIdentity: headers that only this process may set are refused however they are written.
func TestForwardRefusesIdentity(t *testing.T) {
	org, orgKey := authntest.Minted(t, authntest.Format(t), key.Live)
	f := newFixture(t, org)
	for name, refused := range map[string]bool{
		"X-Letmepost-Organization": true, "X_Letmepost_Organization": true, "x-letmepost-key": true,
		"X-Letmepost_Key": true, "X_LETMEPOST_PROFILE_ID": true, "X-Letmepost-Anything": true,
		"X-Letmepost-Claims": true, "X_Letmepost_Claims": true, "X-Letmepost_Claims": true, "x_letmepost-claims": true,
		"X-Letmepost": false, "Letmepost-Key": false, "X-Letmepos-T": false, "Y-Letmepost-Key": false,
	} {
		header := bearer(orgKey)
		header[name] = []string{"globex"}
		got := f.ask("", header)
		if (got.Code == http.StatusForbidden) != refused {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
}

// FuzzParseDemand: no query opens more than it says.
func FuzzParseDemand(f *testing.F) {
	f.Add("scope=posts:read&organization=acme&environment=test&refuse=403&profile=shop")
	f.Add("scope=posts:read+posts:write")
	f.Add("scope=billing.example.com:read,posts:read&scope=a.letmepost.dev:x")
	f.Fuzz(func(t *testing.T, query string) {
		d, err := gate.ParseDemand(query)
		if values, _ := url.ParseQuery(query); err == nil && values.Has("scope") && len(d.Scopes) == 0 {
			t.Errorf("%q demands no scope", query)
		}
		for _, scope := range d.Scopes { // a key's can be compared with nothing else, and a challenge quotes it
			if !scope.BuiltIn() && !scope.Own() || strings.ContainsAny(string(scope), "\" ,;\\\r\n") {
				t.Errorf("%q demands %q", query, scope)
			}
		}
		if err == nil && d.Environment != key.Live && d.Environment != key.Test {
			t.Errorf("%q is for %q", query, d.Environment)
		}
	})
}

// BenchmarkForward is a check beside a handler that answers at once.
func BenchmarkForward(b *testing.B) {
	org, orgKey := authntest.Minted(b, authntest.Format(b), key.Live)
	f := newFixture(b, org)
	r := httptest.NewRequest(http.MethodGet, "/check?scope=posts:read", nil)
	r.Header = bearer(orgKey)
	b.ReportAllocs()
	for b.Loop() {
		f.ServeHTTP(discard{}, r)
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
