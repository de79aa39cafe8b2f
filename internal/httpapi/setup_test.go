// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/write"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

var update = flag.Bool("update", false, "write the golden files")

// now is the time in all tests: a month after everything was created.
var now = authntest.Epoch.AddDate(0, 1, 0)

// fixture is an API of the live environment over a real index and a real authenticator.
type fixture struct {
	*API
	publisher     *publish.Publisher
	authenticator admission.Authenticator
	index         *authn.Index
	clock         *testclock.FakePassiveClock
	serving       *atomic.Bool // whether the authenticator accepts anybody
	registry      *prometheus.Registry
	log           *testlog.Buffer
}

func newFixture(t testing.TB, objects []any, mods ...func(*parts)) *fixture {
	t.Helper()
	return newFixtureOf(t, (*API).routes, objects, mods...)
}

// routes are those of the API, to be looked at.
var routes = new(API).routes()

// newFixtureOf makes an API of other routes.
func newFixtureOf(t testing.TB, routes func(*API) []endpoint.Route, objects []any, mods ...func(*parts)) *fixture {
	t.Helper()
	f := &fixture{
		index:    authntest.Index(t, objects...),
		clock:    testclock.NewFakePassiveClock(now),
		serving:  new(atomic.Bool),
		registry: prometheus.NewRegistry(),
		log:      new(testlog.Buffer),
	}
	f.serving.Store(true)
	var ids atomic.Int64
	c := parts{Admission: admission.Options{
		Authenticator: authntest.Authenticator(t, f.index, key.Live, f.clock, authntest.Serving(f.serving)),
	}, Config: Config{
		Directory:    f.index,
		Ready:        func() bool { return true },
		Environment:  key.Live,
		KeyFormat:    authntest.Format(t),
		NewRequestID: func() string { return fmt.Sprintf("made-%08d", ids.Add(1)) },
		Clock:        f.clock,
		Logger:       slog.New(slog.NewJSONHandler(f.log, nil)),
		Registerer:   f.registry,
		Leaks:        &told{},
		LeakReports:  limit.NewAddresses(rate.Rate{}), // none: tests report far more than anybody may
	}}
	publishing(t, &c, databaseURL(t))
	for _, mod := range mods {
		mod(&c)
	}
	f.authenticator, f.publisher = c.Admission.Authenticator, c.Publisher
	f.API = c.api(t, routes)
	return f
}

// parts are what an API is made of, with its admission, and what it changes things by, still in parts.
type parts struct {
	Config
	Admission   admission.Options
	Publisher   *publish.Publisher
	Platforms   platform.List
	Connections *connection.Keeper
	ReturnTo    []string
	Wait        time.Duration // 0: the default; less: none
}

// newID is a UUIDv7.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

func (p *parts) api(t testing.TB, routes func(*API) []endpoint.Route) *API {
	t.Helper()
	var err error
	p.Config.Admission, err = admission.New(p.Admission)
	check(t, err)
	if p.Wait == 0 {
		p.Wait = write.DefaultWait
	}
	p.Writes = &write.Protocol{Later: p.Publisher.RecordLater, Logger: p.Logger, Wait: p.Wait}
	p.Posting = posting.New(posting.Options{
		Store: p.Store, Publisher: p.Publisher, Profiles: p.Directory, NewID: newID, Clock: p.Clock,
	})
	var public *url.URL
	if p.PublicURL != "" {
		public, err = url.Parse(p.PublicURL)
		check(t, err)
	}
	p.Connecting = connecting.New(connecting.Options{
		Platforms: p.Platforms, Connections: p.Connections, Public: public, ReturnTo: p.ReturnTo,
		NewID: newID, Random: p.Random, Clock: p.Clock,
	})
	a, err := newAPI(p.Config, routes)
	check(t, err)
	return a
}

// byRealTime has an API go by the real time: deadlines of connections do.
func byRealTime(t testing.TB) func(*parts) {
	return func(c *parts) {
		c.Clock = clock.RealClock{}
		c.Admission.Authenticator = authntest.Authenticator(t, c.Directory.(*authn.Index), c.Environment, c.Clock)
	}
}

// counted returns the value of a counter: that with these labels, each a name and then a value. 0: there is none.
func (f *fixture) counted(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.Metric {
			found := len(m.Label)*2 == len(labels)
			for _, label := range m.Label {
				i := slices.Index(labels, label.GetName())
				found = found && i >= 0 && labels[i+1] == label.GetValue()
			}
			if found {
				return m.Counter.GetValue() + m.Gauge.GetValue()
			}
		}
	}
	return 0
}

// requests returns how many requests count as answered so.
func (f *fixture) requests(t testing.TB, route, method, code string) float64 {
	t.Helper()
	return f.counted(t, "lmp_http_requests_total", "route", route, "method", method, "code", code)
}

// routeOf returns a route of the API; nil: there is none.
func routeOf(method, path string) *endpoint.Route {
	for i := range routes {
		if routes[i].Method == method && routes[i].Path == path {
			return &routes[i]
		}
	}
	return nil
}

// paramOf takes a path apart at its parameter; name is "" if there is none.
func paramOf(path string) (before, name, after string) {
	before, rest, _ := strings.Cut(path, "{")
	name, after, _ = strings.Cut(rest, "}")
	return before, name, after
}

// do sends a request with a key; "" sends no header.
func (f *fixture) do(method, target, plaintext string) *httptest.ResponseRecorder {
	var headers []string
	if plaintext != "" {
		headers = []string{"Bearer " + plaintext}
	}
	return f.doHeaders(method, target, headers)
}

func (f *fixture) doHeaders(method, target string, authorization []string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if authorization != nil {
		r.Header["Authorization"] = authorization
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(t *testing.T, target, plaintext string) string {
	t.Helper()
	w := f.do(http.MethodGet, target, plaintext)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	return w.Body.String()
}

// response is all that a client sees, with the request id taken out.
type response struct {
	Status  int
	Headers http.Header
	Body    string
}

func seen(t *testing.T, w *httptest.ResponseRecorder) response {
	t.Helper()
	h := w.Header().Clone()
	id := h.Get("X-Request-Id")
	if id == "" {
		t.Errorf("response without X-Request-Id: %d %s", w.Code, w.Body)
	}
	h.Set("X-Request-Id", "ID")
	return response{w.Code, h, strings.ReplaceAll(w.Body.String(), `"`+id+`"`, `"ID"`)}
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func errorOf(t *testing.T, w *httptest.ResponseRecorder) endpoint.ErrorBody {
	t.Helper()
	return decode[endpoint.ErrorEnvelope](t, w.Body.String()).Error
}

// golden compares got, a JSON text, with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(got), "", "  "); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./internal/httpapi -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", file, diff)
	}
}

// Other organization than authntest's own.
var globex = authntest.In("globex", "610be000-0000-4000-8000-000000000000")

func live(t testing.TB, mods ...func(*v1alpha1.ApiKey)) (*v1alpha1.ApiKey, string) {
	t.Helper()
	return authntest.Minted(t, authntest.Format(t), key.Live, mods...)
}

// fixed gives an ApiKey what a golden file can hold: authntest's own values depend on which tests ran before.
func fixed(name string, n int, hint string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Name, k.UID, k.Status.Hint = name, types.UID(fmt.Sprintf("a0000000-0000-4000-8000-%012d", n)), hint
	}
}

func fixedProfile(name, displayName string, n int, age time.Duration) *v1alpha1.Profile {
	return authntest.Profile(func(p *v1alpha1.Profile) {
		p.Name, p.UID = name, types.UID(fmt.Sprintf("b0000000-0000-4000-8000-%012d", n))
		p.Spec.DisplayName = displayName
		p.CreationTimestamp.Time = authntest.Epoch.Add(-age)
	})
}
