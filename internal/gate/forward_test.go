// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

var now = authntest.Epoch.AddDate(0, 1, 0)

type fixture struct {
	*gate.Forward
	index   *authn.Index
	serving atomic.Bool
}

// newFixture serves both environments.
func newFixture(t testing.TB, objects ...any) *fixture {
	t.Helper()
	f := &fixture{index: authntest.Index(t, objects...)}
	f.serving.Store(true)
	clock := testclock.NewFakePassiveClock(now)
	admissions := map[key.Environment]*admission.Admission{}
	for _, environment := range []key.Environment{key.Live, key.Test} {
		limits, err := limit.NewCallers(limit.Options{Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		admissions[environment], err = admission.New(admission.Options{
			Authenticator: authntest.Authenticator(t, f.index, environment, clock, authntest.Serving(&f.serving)),
			Limits:        limits, Failures: limit.NewAddresses(rate.Rate{}),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if f.Forward, err = gate.NewForward(gate.Options{Admissions: admissions, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) ask(query string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/check?"+query, strings.NewReader("a body that nobody reads"))
	r.Header = header
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func bearer(key string) http.Header { return http.Header{"Authorization": {"Bearer " + key}} }

// TestForward: what a route demands, what a key is, and what comes of the two.
func TestForward(t *testing.T) {
	shop := authntest.Profile()
	format := authntest.Format(t)
	minted := func(env key.Environment, mods ...func(*v1alpha1.ApiKey)) (*v1alpha1.ApiKey, string) {
		return authntest.Minted(t, format, env, mods...)
	}
	org, orgKey := minted(key.Live)
	pinned, pinnedKey := minted(key.Live, authntest.PinnedTo(shop))
	test, testKey := minted(key.Test)
	reader, readerKey := minted(key.Live, authntest.Scoped(v1alpha1.ScopePostsRead))
	expired, expiredKey := minted(key.Live, authntest.ExpiringAt(now.Add(-time.Second)))
	slow, slowKey := minted(key.Live, func(k *v1alpha1.ApiKey) {
		k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: 1}
		k.Spec.RateLimit.Window.Duration = time.Hour
	})
	_, unknownKey := minted(key.Live)
	f := newFixture(t, shop, org, pinned, test, reader, expired, slow)
	f.ask("", bearer(slowKey)) // uses its rate up
	for _, c := range []struct {
		reason, query, key string
		status             int
		code               string
	}{
		{"any key of live", "", orgKey, 200, ""},
		{"a pinned one", "", pinnedKey, 200, ""},
		{"a scope that it has", "scope=posts:read", readerKey, 200, ""},
		{"several", "scope=posts:read+posts:write&scope=media:read,media:write", orgKey, 200, ""},
		{"its organization", "organization=" + org.Namespace, orgKey, 200, ""},
		{"its profile", "profile=" + shop.Name, pinnedKey, 200, ""},
		{"its environment", "environment=test", testKey, 200, ""},
		{"no key", "", "", 401, "unauthenticated"},
		{"an unknown one", "", unknownKey, 401, "unauthenticated"},
		{"an expired one", "", expiredKey, 401, "unauthenticated"},
		{"one of the other environment", "", testKey, 401, "unauthenticated"},
		{"the same", "environment=test", orgKey, 401, "unauthenticated"},
		{"no such scope of its", "scope=posts:write", readerKey, 403, "unauthorized"},
		{"one of two", "scope=posts:read&scope=posts:write", readerKey, 403, "unauthorized"},
		{"of another organization", "organization=globex", orgKey, 404, "not_found"},
		{"of another profile", "profile=other", pinnedKey, 404, "not_found"},
		{"of no profile", "profile=" + shop.Name, orgKey, 404, "not_found"},
		{"too often", "", slowKey, 429, "rate_limited"},
		{"for nginx: of another organization", "refuse=403&organization=globex", orgKey, 403, "not_found"},
		{"for nginx: too often", "refuse=403", slowKey, 403, "rate_limited"},
		{"for nginx: no key", "refuse=403", "", 401, "unauthenticated"},
		{"a scope that there is not", "scope=posts:raed", orgKey, 400, ""},
		{"an empty scope", "scope=", orgKey, 400, ""},
		{"an empty organization", "organization=", orgKey, 400, ""},
		{"an empty profile", "profile=", orgKey, 400, ""},
		{"an environment that there is not", "environment=prod", orgKey, 400, ""},
		{"two of them", "environment=live&environment=test", orgKey, 400, ""},
		{"another parameter", "scopes=posts:read", orgKey, 400, ""},
		{"another refusal", "refuse=404", orgKey, 400, ""},
		{"a query that is none", "%zz", orgKey, 400, ""},
		{"a long one", "scope=posts:read&" + strings.Repeat("scope=posts:read&", 1000), orgKey, 400, ""},
	} {
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
	got := f.ask("", bearer(pinnedKey)).Header()
	want := map[string]string{
		"X-Letmepost-Organization": pinned.Namespace, "X-Letmepost-Organization-Id": pinned.Status.OrganizationID,
		"X-Letmepost-Profile": shop.Name, "X-Letmepost-Profile-Id": string(shop.UID), "X-Letmepost-Environment": "live",
		"X-Letmepost-Key": pinned.Name, "X-Letmepost-Key-Id": string(pinned.UID), "X-Letmepost-Refused": "",
		"X-Letmepost-Scopes": "posts:read posts:write media:read media:write accounts:read accounts:write",
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.Get(name), value)
		}
	}

	f.index.RemoveKey(org)
	if got := f.ask("", bearer(orgKey)); got.Code != http.StatusUnauthorized {
		t.Errorf("revoked: %d", got.Code)
	}
	f.serving.Store(false)
	if got := f.ask("", bearer(pinnedKey)); got.Code != http.StatusServiceUnavailable {
		t.Errorf("fenced: %d", got.Code)
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

// TestForwardRefusesIdentity: headers that only this process may set are refused however they are written.
func TestForwardRefusesIdentity(t *testing.T) {
	org, orgKey := authntest.Minted(t, authntest.Format(t), key.Live)
	f := newFixture(t, org)
	for name, refused := range map[string]bool{
		"X-Letmepost-Organization": true, "X_Letmepost_Organization": true, "x-letmepost-key": true,
		"X-Letmepost_Key": true, "X_LETMEPOST_PROFILE_ID": true, "X-Letmepost-Anything": true,
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
	f.Fuzz(func(t *testing.T, query string) {
		d, err := gate.ParseDemand(query)
		if values, _ := url.ParseQuery(query); err == nil && values.Has("scope") && len(d.Scopes) == 0 {
			t.Errorf("%q demands no scope", query)
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
