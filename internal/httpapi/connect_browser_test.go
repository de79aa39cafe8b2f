// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	verifier  = "the-verifier-of-this-connection"
	ourOrigin = "https://api.example.com"
	appOrigin = "https://app.example.com"
)

// TestBrowserConnects: whoever began gets the account; the browser goes on to where they said, and its state is good
// once.
func TestBrowserConnects(t *testing.T) {
	shop := authntest.Profile()
	b := newBrowsing(t, shop)
	key := b.newKey(t)
	state := b.begin(t, key, `,"returnTo":"`+appOrigin+`/done?tab=1&connected=x","profileId":"`+string(shop.UID)+`"`)
	if n := b.rows(t, "accounts"); n != 0 {
		t.Errorf("%d accounts before the browser is back", n)
	}
	if head := b.do(http.MethodHead, "/v1/accounts/oauth/bluesky/callback?code=good&state="+state, ""); head.Code != http.StatusMethodNotAllowed {
		t.Errorf("HEAD is answered %d", head.Code)
	}
	got := b.comesBack("code=good&extra=1&state=" + state)
	checkStatus(t, "back", got, http.StatusFound)
	to, err := url.Parse(got.Header().Get("Location"))
	check(t, err)
	accounts := ok[struct{ Data []account }](t, b.fixture, sent{method: http.MethodGet, target: "/v1/accounts", key: key}).Data
	if len(accounts) != 1 || accounts[0].ProfileID == nil || *accounts[0].ProfileID != string(shop.UID) {
		t.Fatalf("%+v", accounts)
	}
	query := to.Query()
	if to.Scheme+"://"+to.Host != appOrigin || query.Get("tab") != "1" || query.Get("connected") != accounts[0].ID || query.Get("platform") != "bluesky" {
		t.Errorf("sent on to %v", to)
	}
	if got.Header().Get("Referrer-Policy") != "no-referrer" || got.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%v", got.Header())
	}
	again := b.comesBack("code=good&state=" + state)
	checkStatus(t, "twice", again, http.StatusBadRequest)
	if n := b.rows(t, "connecting"); n != 0 {
		t.Errorf("%d connections still wait", n)
	}
	for _, secret := range []string{verifier, state, "a-token"} {
		if text := got.Body.String() + to.String() + again.Body.String() + b.log.String(); strings.Contains(text, secret) {
			t.Errorf("%s is shown or logged", secret)
		}
	}
}

// TestBrowserConnectsOnce: of many browsers with one state, one connects.
func TestBrowserConnectsOnce(t *testing.T) {
	b := newBrowsing(t)
	state := b.begin(t, b.newKey(t), "")
	codes := make(chan int)
	const browsers = 8
	for range browsers {
		go func() { codes <- b.comesBack("code=good&state=" + state).Code }()
	}
	connected := 0
	for range browsers {
		if <-codes == http.StatusOK {
			connected++
		}
	}
	if connected != 1 {
		t.Errorf("%d have connected", connected)
	}
}

// TestBrowserRefused: what a browser is shown that does not connect, and where it is sent on.
func TestBrowserRefused(t *testing.T) {
	for _, c := range []struct {
		reason string
		query  string // STATE is that which was begun
		before func(t *testing.T, b browsing, owner *v1alpha1.ApiKey)
		during func(b browsing, owner *v1alpha1.ApiKey)
		status int
		error  string // connect_error, where returnTo is known
	}{
		{reason: "no state", query: "code=good", status: http.StatusBadRequest},
		{reason: "an empty one", query: "code=good&state=", status: http.StatusBadRequest},
		{reason: "two", query: "code=good&state=STATE&state=STATE", status: http.StatusBadRequest},
		{reason: "somebody else's", query: "code=good&state=" + strings.Repeat("A", 43), status: http.StatusBadRequest},
		{reason: "a long one", query: "code=good&state=" + strings.Repeat("A", 5000), status: http.StatusBadRequest},
		{reason: "odd bytes", query: "code=good&state=%00%ff", status: http.StatusBadRequest},
		{reason: "a query that is none", query: "%zz", status: http.StatusBadRequest},
		{reason: "refused by the person", query: "error=access_denied&state=STATE", status: http.StatusForbidden, error: "platform_auth_failed"},
		{
			reason: "too late", query: "code=good&state=STATE", status: http.StatusBadRequest, error: "validation_failed",
			before: func(_ *testing.T, b browsing, _ *v1alpha1.ApiKey) { b.clock.SetTime(now.Add(connection.ReturnWithin)) },
		},
		{
			reason: "the key is gone", query: "code=good&state=STATE", status: http.StatusForbidden, error: "unauthorized",
			before: func(_ *testing.T, b browsing, owner *v1alpha1.ApiKey) { b.index.RemoveKey(owner) },
		},
		{
			reason: "the key goes meanwhile", query: "code=good&state=STATE", status: http.StatusForbidden, error: "unauthorized",
			during: func(b browsing, owner *v1alpha1.ApiKey) { b.index.RemoveKey(owner) },
		},
		{
			reason: "the row was changed", query: "code=good&state=STATE", status: http.StatusBadRequest,
			before: func(t *testing.T, b browsing, _ *v1alpha1.ApiKey) { b.tamper(t) },
		},
	} {
		for _, returnTo := range []string{"", appOrigin + "/done"} {
			owner, key := live(t)
			b := newBrowsing(t, owner)
			more := ""
			if returnTo != "" {
				more = `,"returnTo":"` + returnTo + `"`
			}
			state := b.begin(t, key, more)
			if c.before != nil {
				c.before(t, b, owner)
			}
			if c.during != nil {
				b.part.during = func() { c.during(b, owner) }
			}
			got := b.comesBack(strings.ReplaceAll(c.query, "STATE", state))
			if returnTo != "" && c.error != "" {
				if to := got.Header().Get("Location"); got.Code != http.StatusFound || to != returnTo+"?connect_error="+c.error+"&platform=bluesky" {
					t.Errorf("%s: %d to %s", c.reason, got.Code, to)
				}
			} else {
				if got.Code != c.status || !strings.HasPrefix(got.Header().Get("Content-Type"), "text/html") {
					t.Errorf("%s: %d %v %s", c.reason, got.Code, got.Header(), got.Body)
				}
				if !strings.Contains(got.Header().Get("Content-Security-Policy"), "default-src 'none'") {
					t.Errorf("%s: the page may do things", c.reason)
				}
			}
			if strings.Contains(got.Body.String()+b.log.String(), state) {
				t.Errorf("%s: the state is shown or logged", c.reason)
			}
			if n := b.rows(t, "accounts"); n != 0 {
				t.Errorf("%s: %d accounts", c.reason, n)
			}
		}
	}
}

// tamper gives the row to another organization.
func (b browsing) tamper(t *testing.T) {
	t.Helper()
	check(t, b.config.Store.View(&caller.Caller{}).Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.SQL().ExecContext(t.Context(), "UPDATE connecting SET organization_id = 'somebody-elses'")
		return err
	}))
}

// TestBrowserOfAnotherPlatform: by another platform's callback, a state is nobody's.
func TestBrowserOfAnotherPlatform(t *testing.T) {
	b := newBrowsing(t)
	state := b.begin(t, b.newKey(t), "")
	got := b.do(http.MethodGet, "/v1/accounts/oauth/linkedin/callback?code=good&state="+state, "")
	if got.Code == http.StatusOK || got.Code == http.StatusFound {
		t.Errorf("%d", got.Code)
	}
	if n := b.rows(t, "accounts"); n != 0 {
		t.Errorf("%d accounts", n)
	}
}

// TestReturnTo: a browser is sent to where whoever runs the server allows, and nowhere else.
func TestReturnTo(t *testing.T) {
	b := newBrowsing(t)
	key := b.newKey(t)
	for returnTo, allowed := range map[string]bool{
		appOrigin: true, appOrigin + ":443/x": true, "HTTPS://APP.EXAMPLE.COM/": true, ourOrigin + "/dashboard": true,
		"http://app.example.com": false, appOrigin + ":8443": false, "https://app.example.com.evil.example": false,
		"https://evil.example": false, "https://app.example.com@evil.example": false, "//app.example.com": false,
		"/done": false, "javascript:alert(1)": false, "http://localhost:3000": false, "http://127.0.0.1": false,
	} {
		s := sent{
			method: http.MethodPost, target: "/v1/accounts/connect/bluesky", key: key,
			body: `{"method":"oauth","returnTo":"` + returnTo + `"}`,
		}
		if allowed {
			checkStatus(t, returnTo, b.send(s), http.StatusOK)
		} else {
			b.refused(t, returnTo, s, http.StatusBadRequest, "returnTo")
		}
	}
}

// TestBegunIsNotKept: the answer to a connection that begins holds the browser's state, so it is stored for nobody.
func TestBegunIsNotKept(t *testing.T) {
	b := newBrowsing(t)
	key := b.newKey(t)
	s := sent{
		method: http.MethodPost, target: "/v1/accounts/connect/bluesky", key: key, body: `{"method":"oauth"}`,
	}.with("Idempotency-Key", "k")
	first, second := ok[begunConnection](t, b.fixture, s), ok[begunConnection](t, b.fixture, s)
	if first.Descriptor.AuthorizationURL == second.Descriptor.AuthorizationURL {
		t.Error("it is the same state twice")
	}
	if n := b.rows(t, "claims"); n != 0 {
		t.Errorf("%d answers are kept", n)
	}
	b.refused(t, "no method", sent{method: http.MethodPost, target: s.target, key: key, body: `{"method":"telepathy"}`}, http.StatusBadRequest, "method")
}

// TestManyGuesses: whoever guesses at states is told to wait.
func TestManyGuesses(t *testing.T) {
	b := newBrowsing(t, func(c *parts) { c.Admission.Failures = limit.NewAddresses(rate.Rate{Requests: 2, Window: time.Minute}) })
	for _, want := range []int{http.StatusBadRequest, http.StatusBadRequest, http.StatusTooManyRequests} {
		got := b.comesBack("state=" + strings.Repeat("B", 43))
		checkStatus(t, "a guess", got, want)
		if limited := got.Header().Get("Retry-After") != ""; limited != (want == http.StatusTooManyRequests) {
			t.Errorf("%d: Retry-After %q", want, got.Header().Get("Retry-After"))
		}
	}
}

// TestWhatCanBeConnected: GET /v1/accounts says of each platform how, so that nobody has to try.
func TestWhatCanBeConnected(t *testing.T) {
	listed := func(f *fixture) map[string]string {
		methods := map[string]string{}
		for _, o := range ok[accounts](t, f, sent{method: http.MethodGet, target: "/v1/accounts", key: f.newKey(t)}).Platforms {
			methods[string(o.Platform)] = fmt.Sprint(o.Enabled, o.Methods)
		}
		return methods
	}
	browsing := newBrowsing(t, func(c *parts) {
		p, _ := c.Platforms.Get(bluesky.Name)
		p.InBrowser = true
		c.Platforms = platform.List{p}
	})
	for reason, c := range map[string]struct {
		f    *fixture
		want map[string]string
	}{
		"played":          {newFixture(t, nil), map[string]string{"bluesky": "true [credentials]", "linkedin": "true [credentials]"}},
		"not set up":      {newFixture(t, nil, notEnabled), map[string]string{"bluesky": "false []", "linkedin": "false []"}},
		"by both, or not": {browsing.fixture, map[string]string{"bluesky": "true [credentials oauth]", "linkedin": "false []"}},
	} {
		if diff := cmp.Diff(c.want, listed(c.f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
}

// TestAPersonsBrowserComesBack: it goes on to the dashboard, where their session decides, with all that it brings. No
// row is looked for, and no guess is counted: both happen there.
func TestAPersonsBrowserComesBack(t *testing.T) {
	b := newBrowsing(t)
	got := b.comesBack("code=good&state=person.abc&iss=https%3A%2F%2Fx")
	checkStatus(t, "back", got, http.StatusFound)
	const want = "/dashboard/accounts/-/connect/bluesky/returned?code=good&iss=https%3A%2F%2Fx&state=person.abc"
	if to := got.Header().Get("Location"); to != want {
		t.Errorf("sent on to %s, want %s", to, want)
	}
	twice := b.comesBack("state=person.abc&state=person.abc")
	checkStatus(t, "with two states", twice, http.StatusBadRequest)
}

// TestManyWaitForBrowsers: an organization that has begun as many as may wait is told to come back.
func TestManyWaitForBrowsers(t *testing.T) {
	b := newBrowsing(t)
	key := b.newKey(t)
	s := sent{method: http.MethodPost, target: "/v1/accounts/connect/bluesky", key: key, body: `{"method":"oauth"}`}
	for n := 0; ; n++ {
		got := b.send(s)
		if got.Code == http.StatusOK && n < 2000 {
			continue
		}
		checkStatus(t, "one more", got, http.StatusTooManyRequests)
		if e := errorOf(t, got); e.Rule != "connecting.too_many" || got.Header().Get("Retry-After") == "" || b.rows(t, "connecting") != n {
			t.Errorf("after %d: %+v", n, e)
		}
		return
	}
}
