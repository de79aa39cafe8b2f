// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
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
	*gate.Server
	gate.Envoy
	gate     *gate.Gate
	conn     *grpc.ClientConn
	log      *bytes.Buffer
	registry *prometheus.Registry

	index   *authn.Index
	clock   *watchedClock
	serving atomic.Bool
}

// watchedClock stands still, and tells whoever watches it that it is read.
type watchedClock struct {
	*testclock.FakePassiveClock
	watch atomic.Pointer[func()]
}

func (c *watchedClock) Now() time.Time {
	if watch := c.watch.Load(); watch != nil {
		(*watch)()
	}
	return c.FakePassiveClock.Now()
}

// newFixture serves both environments.
func newFixture(t testing.TB, objects ...any) *fixture {
	t.Helper()
	return newFixtureOf(t, []key.Environment{key.Live, key.Test}, objects...)
}

func newFixtureOf(t testing.TB, environments []key.Environment, objects ...any) *fixture {
	t.Helper()
	f := &fixture{index: authntest.Index(t, objects...), log: new(bytes.Buffer), registry: prometheus.NewRegistry()}
	f.serving.Store(true)
	clock := &watchedClock{FakePassiveClock: testclock.NewFakePassiveClock(now)}
	f.clock = clock
	admissions := map[key.Environment]*admission.Admission{}
	for _, environment := range environments {
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
	g, err := gate.New(gate.Options{
		Admissions: admissions, Clock: clock, Registerer: f.registry, Audit: slog.New(slog.NewJSONHandler(f.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.gate, f.Forward, f.Envoy = g, gate.NewForward(g), gate.NewEnvoy(g)
	f.serveGRPC(t, g)
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

// ask is one question, and what is to come of it.
type ask struct {
	reason, query, key string
	status             int
	code               string
}

// world is a fixture with keys of all kinds, and questions about them.
type world struct {
	*fixture
	org, pinned       *v1alpha1.ApiKey
	shop              *v1alpha1.Profile
	orgKey, pinnedKey string
	questions         []ask
}

func newWorld(t *testing.T) world {
	t.Helper()
	shop := authntest.Profile()
	format := authntest.Format(t)
	minted := func(env key.Environment, mods ...func(*v1alpha1.ApiKey)) (*v1alpha1.ApiKey, string) {
		return authntest.Minted(t, format, env, mods...)
	}
	org, orgKey := minted(key.Live)
	pinned, pinnedKey := minted(key.Live, authntest.PinnedTo(shop))
	test, testKey := minted(key.Test)
	reader, readerKey := minted(key.Live, authntest.Scoped(v1alpha1.ScopePostsRead))
	billing, billingKey := minted(key.Live, authntest.Scoped(v1alpha1.ScopePostsRead, "billing.example.com:read", "billing.example.com:refund"))
	expired, expiredKey := minted(key.Live, authntest.ExpiringAt(now.Add(-time.Second)))
	slow, slowKey := minted(key.Live, func(k *v1alpha1.ApiKey) {
		k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: 1}
		k.Spec.RateLimit.Window.Duration = time.Hour
	})
	_, unknownKey := minted(key.Live)
	f := newFixture(t, shop, org, pinned, test, reader, billing, expired, slow)
	f.ask("", bearer(slowKey)) // uses its rate up
	return world{fixture: f, org: org, pinned: pinned, shop: shop, orgKey: orgKey, pinnedKey: pinnedKey, questions: []ask{
		{"any key of live", "", orgKey, 200, ""},
		{"a pinned one", "", pinnedKey, 200, ""},
		{"a scope that it has", "scope=posts:read", readerKey, 200, ""},
		{"several", "scope=posts:read+posts:write&scope=media:read,media:write", orgKey, 200, ""},
		{"its organization", "organization=" + org.Namespace, orgKey, 200, ""},
		{"its profile", "profile=" + shop.Name, pinnedKey, 200, ""},
		{"its environment", "environment=test", testKey, 200, ""},
		{"a scope of its owner's own", "scope=billing.example.com:read", billingKey, 200, ""},
		{"such ones beside the API's", "scope=posts:read+billing.example.com:refund,billing.example.com:read", billingKey, 200, ""},
		{"such a scope, which it lacks", "scope=billing.example.com:write", billingKey, 403, "unauthorized"},
		{"such a scope, and one of the API's that it lacks", "scope=billing.example.com:read+media:read", billingKey, 403, "unauthorized"},
		{"one of the API's, and such a scope that it lacks", "scope=posts:read+billing.example.com:write", billingKey, 403, "unauthorized"},
		{"of a part of its domain", "scope=example.com:read", billingKey, 403, "unauthorized"},
		{"who has all of the API's has none such", "scope=billing.example.com:read", orgKey, 403, "unauthorized"},
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
		{"a scope that there is not", "scope=posts:raed", orgKey, 400, "validation_failed"},
		{"a scope of no domain", "scope=billing:read", orgKey, 400, "validation_failed"},
		{"a scope of a reserved domain", "scope=api.letmepost.dev:read", orgKey, 400, "validation_failed"},
		{"a scope in capitals", "scope=Billing.example.com:read", billingKey, 400, "validation_failed"},
		{"a scope with a port", "scope=billing.example.com:80", billingKey, 400, "validation_failed"},
		{"nine scopes", "scope=a.dev:x" + strings.Repeat(",a.dev:x", 8), orgKey, 400, "validation_failed"},
		{"an empty scope", "scope=", orgKey, 400, "validation_failed"},
		{"an empty organization", "organization=", orgKey, 400, "validation_failed"},
		{"an empty profile", "profile=", orgKey, 400, "validation_failed"},
		{"an environment that there is not", "environment=prod", orgKey, 400, "validation_failed"},
		{"two of them", "environment=live&environment=test", orgKey, 400, "validation_failed"},
		{"another parameter", "scopes=posts:read", orgKey, 400, "validation_failed"},
		{"another refusal", "refuse=404", orgKey, 400, "validation_failed"},
		{"a query that is none", "%zz", orgKey, 400, "validation_failed"},
		{"a long one", "scope=posts:read&" + strings.Repeat("scope=posts:read&", 1000), orgKey, 400, "validation_failed"},
	}}
}

// TestOneEnvironment: a gate of one environment lets no key of the other pass, whatever it is asked. That is a mistake
// in the proxy's configuration, and said to be.
func TestOneEnvironment(t *testing.T) {
	live, liveKey := authntest.Minted(t, authntest.Format(t), key.Live)
	test, testKey := authntest.Minted(t, authntest.Format(t), key.Test)
	for _, c := range []struct {
		serves                 key.Environment
		environment, plaintext string
		status                 int
	}{
		{key.Live, "live", liveKey, 200},
		{key.Live, "live", testKey, 401},
		{key.Live, "test", testKey, 400},
		{key.Live, "test", liveKey, 400},
		{key.Test, "test", testKey, 200},
		{key.Test, "test", liveKey, 401},
		{key.Test, "live", liveKey, 400},
	} {
		f := newFixtureOf(t, []key.Environment{c.serves}, live, test)
		if got := f.ask("environment="+c.environment, bearer(c.plaintext)); got.Code != c.status {
			t.Errorf("%s alone, asked for %s: %d %s", c.serves, c.environment, got.Code, got.Body)
		}
		r := f.envoy(t, map[string]string{"environment": c.environment}, map[string]string{"authorization": "Bearer " + c.plaintext})
		if got := int(r.GetDeniedResponse().GetStatus().GetCode()); got != c.status && (c.status != 200 || r.GetOkResponse() == nil) {
			t.Errorf("%s alone, asked for %s by Envoy: %v", c.serves, c.environment, r)
		}
		got := introspecting(newIntrospection(t, f), "everywhere", "?environment="+c.environment, "token="+c.plaintext)
		said := map[int]bool{200: strings.Contains(got.Body.String(), `"active":true`), 401: got.Body.String() == inactive, 400: got.Code == 400}
		if !said[c.status] {
			t.Errorf("%s alone, asked for %s by a service: %d %s", c.serves, c.environment, got.Code, got.Body)
		}
	}
}

// TestRevokedMeanwhile: whenever a key goes while it is looked at, whoever asks is not told that it is good. The clock
// is read at each step of that.
func TestRevokedMeanwhile(t *testing.T) {
	f := newFixture(t)
	i := newIntrospection(t, f)
	format := authntest.Format(t)
	for protocol, passes := range map[string]func(key string) bool{
		"forward-auth": func(key string) bool { return f.ask("", bearer(key)).Code == http.StatusOK },
		"ext_authz": func(key string) bool {
			return f.envoy(t, nil, map[string]string{"authorization": "Bearer " + key}).GetOkResponse() != nil
		},
		"introspection": func(key string) bool {
			return introspecting(i, "everywhere", "", "token="+key).Body.String() != inactive
		},
	} {
		steps := 0
		for revoked := true; revoked; steps++ {
			k, plaintext := authntest.Minted(t, format, key.Live)
			f.index.PutKey(k)
			read := 0
			revoked = false
			watch := func() {
				if read++; read == steps+1 {
					f.index.RemoveKey(k)
					revoked = true
				}
			}
			f.clock.watch.Store(&watch)
			passed := passes(plaintext)
			f.clock.watch.Store(nil)
			if passed == revoked {
				t.Errorf("%s: revoked: %t, at the clock's reading %d, and it passes: %t", protocol, revoked, steps+1, passed)
			}
		}
		if steps < 3 {
			t.Errorf("%s: the clock is read %d times", protocol, steps-1)
		}
	}
}

// counted is how often an answer was given.
func (f *fixture) counted(t *testing.T, protocol, answer string) float64 {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			l := m.GetLabel() // by name: answer, protocol
			if family.GetName() == "lmp_gate_checks_total" && l[0].GetValue() == answer && l[1].GetValue() == protocol {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no counter of %s over %s", answer, protocol)
	return 0
}
