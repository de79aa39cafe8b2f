// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// limited gives an ApiKey a rate of so many requests an hour.
func limited(requests int32) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: requests, Window: metav1.Duration{Duration: time.Hour}}
	}
}

// newKey adds a key to an API that is there.
func (f *fixture) newKey(t testing.TB, mods ...func(*v1alpha1.ApiKey)) string {
	t.Helper()
	k, plaintext := live(t, mods...)
	f.index.PutKey(k)
	return plaintext
}

// remaining is what a RateLimit header says is left.
func remaining(h http.Header) string {
	_, rest, _ := strings.Cut(h.Get("RateLimit"), ";r=")
	left, _, _ := strings.Cut(rest, ";")
	return left
}

// All but scope takes from everywhere.
func without(scope v1alpha1.Scope) func(*v1alpha1.ApiKey) {
	return authntest.Scoped(slices.DeleteFunc(slices.Clone(authntest.AllScopes), func(s v1alpha1.Scope) bool { return s == scope })...)
}

// The order is authentication, scope, rate limit, idempotency, handler: on every route, no exception. Of two things
// that are wrong, the answer tells the one that comes first.
func TestOrderOnEveryRoute(t *testing.T) {
	p := newProvoker(t)
	f := p.works
	for i := range routes {
		r := &routes[i]
		if r.Access == admission.Anyone {
			continue
		}
		name := r.Method + " " + r.Path
		s := sent{method: r.Method, target: pathOf(r, "none")}
		broken := s.with("Idempotency-Key", "\x01") // and, if it has an id, it isn't there
		checkStatus(t, name+": no key comes before all", f.send(broken), http.StatusUnauthorized)
		if r.Scope != "" {
			p.scopeComesBeforeRate(t, r, broken)
		}
		broken.key = f.newKey(t, limited(1))
		f.do(http.MethodGet, "/v1/whoami", broken.key)
		w := f.send(broken)
		checkStatus(t, name+": the rate comes before the Idempotency-Key", w, http.StatusTooManyRequests)
		if retry := w.Header().Get("Retry-After"); retry != "3600" || remaining(w.Header()) != "0" {
			t.Errorf("%s: Retry-After %q, RateLimit %q", name, retry, w.Header().Get("RateLimit"))
		}
		if r.Changes() {
			broken.key = p.org
			f.refused(t, name+": the Idempotency-Key comes before the handler", broken, http.StatusBadRequest, "idempotency_key.format")
			p.rateComesBeforeReplay(t, r)
		}
	}
}

// scopeComesBeforeRate also checks that a refusal for a scope costs nothing, and says which scope it is.
func (p *provoker) scopeComesBeforeRate(t *testing.T, r *endpoint.Route, s sent) {
	t.Helper()
	f, name := p.works, r.Method+" "+r.Path
	s.key = f.newKey(t, without(r.Scope), limited(3))
	for range 5 {
		w := f.send(s)
		checkStatus(t, name+": the scope comes before the rate", w, http.StatusForbidden)
		if e := errorOf(t, w); e.Code != "unauthorized" || e.Rule != "api_key.scope" || !strings.Contains(e.Message, string(r.Scope)) {
			t.Errorf("%s: %+v", name, e)
		}
		want := []string{`Bearer realm="letmepost", error="insufficient_scope", scope="` + string(r.Scope) + `"`}
		if diff := cmp.Diff(want, w.Header()["Www-Authenticate"]); diff != "" {
			t.Errorf("%s: the challenge of RFC 6750 (-want +got):\n%s", name, diff)
		}
	}
	if left := remaining(f.do(http.MethodGet, "/v1/whoami", s.key).Header()); left != "2" {
		t.Errorf("%s: %s requests are left after five that lacked the scope, and whoami; want 2 of 3", name, left)
	}
	for range 3 {
		f.do(http.MethodGet, "/v1/whoami", s.key)
	}
	checkStatus(t, name+": the scope comes before a rate that is used up", f.send(s), http.StatusForbidden)

	s.key = f.newKey(t, authntest.Scoped(r.Scope))
	if w := f.send(s); w.Code == http.StatusForbidden {
		t.Errorf("%s: the scope %s alone is not enough: %s", name, r.Scope, w.Body)
	}
}

func (p *provoker) rateComesBeforeReplay(t *testing.T, r *endpoint.Route) {
	t.Helper()
	f, name := p.works, r.Method+" "+r.Path
	s := p.successOf(t, r, p.org).with("Idempotency-Key", "again")
	s.key = f.newKey(t, limited(1))
	if w := f.send(s); w.Code >= http.StatusMultipleChoices {
		t.Fatalf("%s: %d %s", name, w.Code, w.Body)
	}
	w := f.send(s)
	checkStatus(t, name+": the rate comes before what could be replayed", w, http.StatusTooManyRequests)
	if w.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("%s: replayed", name)
	}
	f.clock.SetTime(f.clock.Now().Add(time.Hour))
	if w := f.send(s); w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s: an hour later: %d %s", name, w.Code, w.Body)
	}
	f.clock.SetTime(now)
}

// "Read endpoints … accept either a Bearer key or a dashboard session cookie. Writes accept Bearer keys only."
func TestReadsAndWrites(t *testing.T) {
	p := newProvoker(t)
	reads := 0
	for i := range routes {
		r := &routes[i]
		if r.Access == admission.Anyone {
			continue
		}
		name, write := r.Method+" "+r.Path, r.Method != http.MethodGet
		switch {
		case write && r.Access != admission.KeyOnly:
			t.Errorf("%s: a write that takes more than Bearer keys", name)
		case write && !r.Changes() && r.Succeeds():
			t.Errorf("%s: a write to which no Idempotency-Key counts", name)
		case !write && r.Changes():
			t.Errorf("%s: a read that writes", name)
		case !write && r.Access == admission.KeyOrSession:
			reads++
		}
		s := p.successOf(t, r, p.org)
		s.key = ""
		w := p.works.send(s.with("Cookie", "session="+p.org+"; lmp_session=x"))
		checkStatus(t, name+" with a cookie alone", w, http.StatusUnauthorized)
		if challenge := w.Header().Get("Www-Authenticate"); challenge != plainChallenge {
			t.Errorf("%s with a cookie alone: challenge %q", name, challenge)
		}
	}
	if reads == 0 {
		t.Error("no read takes a session")
	}
	for _, path := range []string{"/v1/posts", "/v1/posts/{id}", "/v1/media", "/v1/accounts"} { // those that the sentence names
		if r := routeOf(http.MethodGet, path); r == nil || r.Access != admission.KeyOrSession {
			t.Errorf("GET %s does not take a session", path)
		}
	}
}

// Every route to data names the scope that it needs, reads one that reads and writes one that writes. Those without are
// about the key itself, and who it is.
func TestEveryRouteHasItsScope(t *testing.T) {
	var without []string
	for i := range routes {
		r := &routes[i]
		if r.Access == admission.Anyone {
			continue
		}
		if r.Scope == "" {
			without = append(without, r.ID)
			continue
		}
		of, verb, _ := strings.Cut(string(r.Scope), ":")
		if want := map[bool]string{true: "read", false: "write"}[r.Method == http.MethodGet]; verb != want {
			t.Errorf("%s %s needs %s", r.Method, r.Path, r.Scope)
		}
		if !strings.HasPrefix(r.Path, "/v1/"+of) {
			t.Errorf("%s %s needs %s", r.Method, r.Path, r.Scope)
		}
	}
	want := []string{"whoami", "listProfiles", "getProfile", "listApiKeys", "createApiKey", "revokeApiKey"}
	if diff := cmp.Diff(want, without); diff != "" {
		t.Errorf("routes without a scope (-want +got):\n%s", diff)
	}
}

// A cookie beside a key changes nothing: the Authorization header decides.
func TestAHeaderDecides(t *testing.T) {
	f := newFixture(t, nil)
	good := f.newKey(t)
	s := sent{method: http.MethodGet, target: "/v1/posts", key: good}.with("Cookie", "session=x")
	checkStatus(t, "a good key", f.send(s), http.StatusOK)
	s.key = "nonsense"
	checkStatus(t, "a bad key", f.send(s), http.StatusUnauthorized)
}
