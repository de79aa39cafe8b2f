// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// rates are the headers that tell of a rate.
func rates(h http.Header) [3]string {
	return [3]string{h.Get("RateLimit-Policy"), h.Get("RateLimit"), h.Get("Retry-After")}
}

// "rate_limited: Per-key rate limit exhausted." The headers are those of draft-ietf-httpapi-ratelimit-headers.
func TestRateLimit(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t, func(k *v1alpha1.ApiKey) {
		k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: 3, Window: metav1.Duration{Duration: time.Minute}}
	})
	const policy = `"key";q=3;w=60`
	for i, c := range []struct {
		at     time.Duration
		target string
		status int
		want   [3]string
	}{
		{0, "/v1/whoami", 200, [3]string{policy, `"key";r=2;t=20`, ""}},
		{0, "/v1/posts/none", 404, [3]string{policy, `"key";r=1;t=40`, ""}},
		{0, "/v1/posts?limit=x", 400, [3]string{policy, `"key";r=0;t=60`, ""}},
		{0, "/v1/whoami", 429, [3]string{policy, `"key";r=0;t=60`, "20"}},
		{500 * time.Millisecond, "/v1/posts", 429, [3]string{policy, `"key";r=0;t=60`, "20"}}, // rounded up
		{20*time.Second - 1, "/v1/whoami", 429, [3]string{policy, `"key";r=0;t=41`, "1"}},
		{20 * time.Second, "/v1/whoami", 200, [3]string{policy, `"key";r=0;t=60`, ""}},
		{20 * time.Second, "/nowhere", 404, [3]string{}}, // nobody is asked who they are there
		{2 * time.Minute, "/v1/whoami", 200, [3]string{policy, `"key";r=2;t=20`, ""}},
	} {
		f.clock.SetTime(now.Add(c.at))
		w := f.do(http.MethodGet, c.target, key)
		if diff := cmp.Diff(c.want, rates(w.Header())); diff != "" || w.Code != c.status {
			t.Errorf("request %d, %v: %d, want %d; headers (-want +got):\n%s", i, c.at, w.Code, c.status, diff)
		}
		if w.Code == http.StatusTooManyRequests {
			if e := errorOf(t, w); e.Code != "rate_limited" {
				t.Errorf("code %s", e.Code)
			}
		}
	}
}

// A key's own rate, else its Profile's, else the server's; each key has its own allowance.
func TestWhoseRateCounts(t *testing.T) {
	perMinute := func(n int32) *v1alpha1.RateLimit {
		return &v1alpha1.RateLimit{Requests: n, Window: metav1.Duration{Duration: time.Minute}}
	}
	profile := authntest.Profile(func(p *v1alpha1.Profile) { p.Spec.DefaultRateLimit = perMinute(20) })
	f := newFixture(t, []any{profile}, func(c *parts) {
		limits, err := limit.NewCallers(limit.Options{Default: rate.Rate{Requests: 30, Window: time.Minute}})
		check(t, err)
		c.Admission.Limits = limits
	})
	for reason, c := range map[string]struct {
		key  string
		want string
	}{
		"its own":       {f.newKey(t, authntest.PinnedTo(profile), func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = perMinute(10) }), `"key";q=10;w=60`},
		"its Profile's": {f.newKey(t, authntest.PinnedTo(profile)), `"key";q=20;w=60`},
		"the server's":  {f.newKey(t), `"key";q=30;w=60`},
		"another's":     {f.newKey(t), `"key";q=30;w=60`},
	} {
		w := f.do(http.MethodGet, "/v1/whoami", c.key)
		if got := w.Header().Get("RateLimit-Policy"); got != c.want {
			t.Errorf("%s: %s, want %s", reason, got, c.want)
		}
		if reason == "another's" && remaining(w.Header()) != "29" {
			t.Errorf("two keys share an allowance: %s", w.Header().Get("RateLimit"))
		}
	}
}

// Failures are limited by where they come from; a good key is served from there all the same.
func TestFailuresAreLimitedByAddress(t *testing.T) {
	f := newFixture(t, nil, func(c *parts) {
		c.Admission.Failures = limit.NewAddresses(rate.Rate{Requests: 2, Window: time.Minute})
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	good, scopeless := f.newKey(t), f.newKey(t, authntest.Scoped())
	from := func(peer, forwarded, key string) *httptest.ResponseRecorder {
		r := sent{method: http.MethodGet, target: "/v1/posts", key: key}.request()
		r.RemoteAddr = peer
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	for _, c := range []struct {
		reason, peer, forwarded, key string
		want                         int
	}{
		{"the first", "192.0.2.1:1", "", "", 401},
		{"no failure: it is known", "192.0.2.1:1", "", scopeless, 403},
		{"the second, by another port", "192.0.2.1:2", "", "nonsense", 401},
		{"the third", "192.0.2.1:3", "", "nonsense", 429},
		{"without a key it is no better", "192.0.2.1:3", "", "", 429},
		{"a good key", "192.0.2.1:3", "", good, 200},
		{"who is no proxy says who he is", "192.0.2.1:3", "192.0.2.7", "", 429},
		{"another address", "192.0.2.2:1", "", "", 401},
		{"behind a proxy", "10.0.0.1:1", "198.51.100.1", "", 401},
		{"again", "10.0.0.2:1", "198.51.100.1", "", 401},
		{"a third time, with something made up before it", "10.0.0.1:1", "203.0.113.9, 198.51.100.1", "", 429},
		{"another behind the proxy", "10.0.0.1:1", "198.51.100.2", "", 401},
		{"a good key behind the proxy", "10.0.0.1:1", "198.51.100.1", good, 200},
	} {
		w := from(c.peer, c.forwarded, c.key)
		checkStatus(t, c.reason, w, c.want)
		if w.Code != http.StatusTooManyRequests {
			continue
		}
		if e := errorOf(t, w); e.Code != "rate_limited" || w.Header().Get("Retry-After") != "30" || w.Header().Get("RateLimit") != "" {
			t.Errorf("%s: %+v, %v", c.reason, e, rates(w.Header()))
		}
	}
	f.clock.SetTime(now.Add(30 * time.Second))
	checkStatus(t, "after Retry-After", from("192.0.2.1:4", "", ""), http.StatusUnauthorized)
}
