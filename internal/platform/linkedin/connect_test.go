// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

const callback = "http://127.0.0.1:1/v1/accounts/connect/linkedin/callback"

// authorization is a real authorization server, which starts when the first test asks for it.
var authorization = sync.OnceValues(func() (*oauth.Server, error) {
	return oauth.Start(context.Background(), callback)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := authorization(); err == nil {
		s.Stop()
	}
	os.Exit(code)
}

func authorizationServer(t *testing.T) *oauth.Server {
	t.Helper()
	s, err := authorization()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// at has LinkedIn be a client of the authorization server.
func at(s *oauth.Server, client string, changes ...func(*linkedin.Config)) func(*linkedin.Config) {
	return func(c *linkedin.Config) {
		c.ClientID, c.ClientSecret, c.AuthURL, c.APIURL = client, s.ClientSecret, s.URL, s.URL
		for _, change := range changes {
			change(c)
		}
	}
}

func begin(t *testing.T, p platform.Platform) platform.Begun {
	t.Helper()
	b, err := p.Connector.Begin(t.Context(), platform.ConnectionRequest{
		CallbackURL: mustParse(t, callback), State: "the state",
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// connect goes the whole way of a person.
func connect(t *testing.T, s *oauth.Server, p platform.Platform, who string) (platform.Connection, error) {
	t.Helper()
	b := begin(t, p)
	back, err := s.SignIn(t.Context(), b.AuthorizationURL, who)
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Query().Get("state"); got != "the state" {
		t.Errorf("the browser brings the state %q", got)
	}
	return complete(t, p, b, back.Query())
}

func complete(t *testing.T, p platform.Platform, b platform.Begun, came url.Values) (platform.Connection, error) {
	t.Helper()
	return p.Connector.Complete(t.Context(), platform.ConnectionAnswer{
		Callback: came, CallbackURL: mustParse(t, callback), Resume: b.Resume,
	})
}

func TestConnect(t *testing.T) {
	s := authorizationServer(t)
	now := time.Now().Truncate(time.Second)
	p := newPlatform(t, at(s, oauth.Plain, func(c *linkedin.Config) { c.Clock = clocktesting.NewFakePassiveClock(now) }))
	b := begin(t, p)
	if b.Descriptor.Kind != platform.ByOAuth || b.AuthorizationURL.Query().Has("code_challenge") || b.Resume != nil {
		t.Errorf("%+v", b)
	}
	c, err := connect(t, s, p, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if c.PlatformAccountID != "urn:li:person:alice" || c.DisplayName != "Member alice" || !c.RefreshAt.IsZero() {
		t.Errorf("%+v", c)
	}
	if left := c.TokenExpiresAt.Sub(now); left != 60*24*time.Hour {
		t.Errorf("the token is good for %s", left)
	}
	if len(c.Secrets) != 1 || c.Secrets[platform.SecretAccessToken] == "" {
		t.Errorf("%v", c.Secrets)
	}
	_, err = p.Refresher.Refresh(t.Context(), platform.Account{}, c.Secrets)
	if f := failureOf(t, err); f.Code != platform.CodeAuthFailed {
		t.Errorf("without a refresh token: %+v", f)
	}
}

// TestPKCE is a setting of the platform: one client is refused with it, the other one without.
func TestPKCE(t *testing.T) {
	s := authorizationServer(t)
	with := func(c *linkedin.Config) { c.PKCE = true }
	p := newPlatform(t, at(s, oauth.PKCE, with))
	if c, err := connect(t, s, p, "bob"); err != nil || c.PlatformAccountID != "urn:li:person:bob" {
		t.Errorf("%+v, %v", c, err)
	}
	_, err := connect(t, s, newPlatform(t, at(s, oauth.Plain, with)), "bob")
	if f := failureOf(t, err); f.Rule != "linkedin.client" { // as LinkedIn answers: 401 invalid_client
		t.Errorf("with a code_verifier where it is refused: %+v", f)
	}
	b := begin(t, newPlatform(t, at(s, oauth.PKCE)))
	back, err := s.SignIn(t.Context(), b.AuthorizationURL, "bob")
	if err != nil || back.Query().Get("error") != "invalid_request" {
		t.Errorf("without one where it is demanded: %s, %v", back, err)
	}
}

func TestConsentRefused(t *testing.T) {
	s := authorizationServer(t)
	p := newPlatform(t, at(s, oauth.Plain))
	b := begin(t, p)
	back, err := s.Refuse(t.Context(), b.AuthorizationURL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = complete(t, p, b, back.Query())
	f := failureOf(t, err)
	if f.Code != platform.CodeAuthFailed || f.Rule != "linkedin.consent_refused" || f.Remediation == "" {
		t.Errorf("%+v", f)
	}
}

// TestRefresh: an app that gets refresh tokens. Their end does not move.
func TestRefresh(t *testing.T) {
	s := authorizationServer(t)
	now := time.Now().UTC().Truncate(time.Second)
	clock := clocktesting.NewFakePassiveClock(now)
	p := newPlatform(t, at(s, oauth.Partner, func(c *linkedin.Config) { c.Clock = clock }))
	c, err := connect(t, s, p, "carol")
	if err != nil {
		t.Fatal(err)
	}
	year, day := 365*24*time.Hour, 24*time.Hour
	if !c.TokenExpiresAt.Equal(now.Add(year)) || !c.RefreshAt.Equal(now.Add(50*day)) {
		t.Errorf("the connection ends %s and is refreshed %s", c.TokenExpiresAt, c.RefreshAt)
	}
	clock.SetTime(now.Add(50 * day))
	r, err := p.Refresher.Refresh(t.Context(), platform.Account{}, c.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	if r.Secrets[platform.SecretAccessToken] == c.Secrets[platform.SecretAccessToken] ||
		r.Secrets[platform.SecretRefreshToken] == "" || !r.ExpiresAt.Equal(now.Add(year)) ||
		!r.RefreshAt.Equal(now.Add(100*day)) {
		t.Errorf("%+v", r)
	}
	clock.SetTime(now.Add(320 * day))
	if r, err = p.Refresher.Refresh(t.Context(), platform.Account{}, r.Secrets); err != nil || !r.RefreshAt.IsZero() {
		t.Errorf("the last one: %+v, %v", r, err)
	}
	bad := platform.Secrets{platform.SecretAccessToken: "a", platform.SecretRefreshToken: "no such token"}
	_, err = p.Refresher.Refresh(t.Context(), platform.Account{}, bad)
	if f := failureOf(t, err); f.Code != platform.CodeAuthFailed {
		t.Errorf("a token that is revoked: %+v", f)
	}
	// What is wrong with this server is no reason to have everybody connect again.
	wrong := newPlatform(t, at(s, oauth.Partner, func(c *linkedin.Config) { c.ClientSecret = "wrong" }))
	_, err = wrong.Refresher.Refresh(t.Context(), platform.Account{}, c.Secrets)
	if f := failureOf(t, err); f.Code != platform.CodeUnavailable || f.Rule != "linkedin.client" {
		t.Errorf("a wrong client secret: %+v", f)
	}
}

// TestBadCallbacks: whatever a browser brings is answered by a sentence.
func TestBadCallbacks(t *testing.T) {
	s := authorizationServer(t)
	p := newPlatform(t, at(s, oauth.Plain))
	for _, tc := range []struct{ query, rule string }{
		{"", "linkedin.code"},
		{"code=made-up", "linkedin.code"},
		{"error=user_cancelled_login", "linkedin.consent_refused"},
		{"error=user_cancelled_authorize&code=x", "linkedin.consent_refused"},
		{"error=unauthorized_scope_error", "linkedin.scope"},
		{"error=" + strings.Repeat("x", 5000), "linkedin.unavailable"},
	} {
		came, _ := url.ParseQuery(tc.query)
		_, err := complete(t, p, platform.Begun{}, came)
		if f := failureOf(t, err); f.Rule != tc.rule || f.Remediation == "" || len(f.Message) > 500 {
			t.Errorf("%.40q: %+v", tc.query, f)
		}
	}
	_, err := p.Connector.Complete(t.Context(), platform.ConnectionAnswer{Credentials: map[string]string{"x": "y"}})
	if f := failureOf(t, err); f.Code != platform.CodeInvalid {
		t.Errorf("credentials: %+v", f)
	}
	_, err = p.Connector.Begin(t.Context(), platform.ConnectionRequest{State: "s"})
	if f := failureOf(t, err); f.Code != platform.CodeNotEnabled || !strings.Contains(f.Remediation, "--public-url") {
		t.Errorf("no address: %+v", f)
	}
}

// TestTokenEndpointFails: it may hang, and answer anything.
func TestTokenEndpointFails(t *testing.T) {
	good := `{"access_token":"a","expires_in":60,"scope":"openid,profile,w_member_social"}`
	for reason, tc := range map[string]struct {
		status          int
		token, who      string
		code, rule      string
		hangs, infinite bool
	}{
		"no JSON":              {status: 200, token: "<html>", code: platform.CodeUnavailable},
		"an error, no JSON":    {status: 401, token: "<html>", code: platform.CodeUnavailable},
		"nothing in it":        {status: 200, token: "{}", code: platform.CodeUnavailable},
		"an error":             {status: 500, token: "{}", code: platform.CodeUnavailable},
		"too many":             {status: 429, token: "{}", code: platform.CodeRateLimited},
		"it hangs":             {hangs: true, code: platform.CodeUnavailable},
		"10 MB":                {status: 200, token: `{"access_token":"` + strings.Repeat("a", 10<<20) + `"}`, code: platform.CodeUnavailable},
		"no product":           {status: 200, token: `{"access_token":"a","scope":"openid,profile"}`, code: platform.CodeAuthFailed, rule: "linkedin.scope"},
		"a member of no sense": {status: 200, token: good, who: `{"sub":"a/../b"}`, code: platform.CodeUnavailable},
		"no member":            {status: 200, token: good, who: `[]`, code: platform.CodeUnavailable},
		"10 MB of a member":    {status: 200, token: good, who: `{"sub":"` + strings.Repeat("a", 10<<20) + `"}`, code: platform.CodeUnavailable},
	} {
		t.Run(reason, func(t *testing.T) {
			var log bytes.Buffer
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/v2/userinfo" {
					_, _ = io.WriteString(w, tc.who)
					return
				}
				asked.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				if tc.hangs {
					<-r.Context().Done()
					return
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.token)
			}))
			defer server.Close()
			p := newPlatform(t, func(c *linkedin.Config) {
				c.AuthURL, c.APIURL, c.Logger = server.URL, server.URL, slog.New(slog.NewTextHandler(&log, nil))
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if tc.hangs {
				ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second) // in which it is asked, on a machine that is busy
			}
			defer cancel()
			_, err := p.Connector.Complete(ctx, platform.ConnectionAnswer{
				Callback: url.Values{"code": {"the-code"}}, CallbackURL: mustParse(t, callback),
			})
			f := failureOf(t, err)
			if f.Code != tc.code || tc.rule != "" && f.Rule != tc.rule || f.Remediation == "" || len(f.Message) > 500 {
				t.Errorf("%+v", f)
			}
			if n := asked.Load(); n != 1 { // a code is good for one request
				t.Errorf("the endpoint was asked %d times", n)
			}
			if text := f.Message + string(f.PlatformResponse) + log.String(); strings.Contains(text, "the-code") {
				t.Errorf("the code is told: %s", text)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	for text, sunset := range map[string]string{
		"202511": "2026-11-16", "202603": "2027-03-16", "202607": "2027-07-15", "202612": "2027-12-15",
	} {
		v, err := linkedin.ParseVersion(text)
		if got := v.Sunset().Format(time.DateOnly); err != nil || got != sunset {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "2026", "202613", "2026-07", "20260701", "latest"} {
		if _, err := linkedin.ParseVersion(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestSunsetIsNear: from 60 days before, the log says so, and every account of it.
func TestSunsetIsNear(t *testing.T) {
	s := authorizationServer(t)
	for left, warned := range map[time.Duration]bool{61 * 24 * time.Hour: false, 59 * 24 * time.Hour: true, -time.Hour: true} {
		var log bytes.Buffer
		now := linkedin.DefaultVersion.Sunset().Add(-left)
		p := newPlatform(t, at(s, oauth.Plain, func(c *linkedin.Config) {
			c.Clock, c.Logger = clocktesting.NewFakePassiveClock(now), slog.New(slog.NewTextHandler(&log, nil))
		}))
		if _, err := connect(t, s, p, "dave"); err != nil {
			t.Fatal(err)
		}
		said := p.Notices()
		if (len(said) == 1) != warned || warned && (said[0].Code != "linkedin.version.sunset" ||
			!strings.Contains(said[0].Message, "2027-07-15") || strings.Contains(said[0].Message, "no more") != (left < 0)) {
			t.Errorf("%s before, whoever has an account is told %+v", left, said)
		}
		if strings.Contains(log.String(), "2027-07-15") != warned {
			t.Errorf("%s before, the log: %s", left, &log)
		}
		if n := strings.Count(log.String(), "\n"); n > 1 {
			t.Errorf("it is said %d times", n)
		}
	}
}
