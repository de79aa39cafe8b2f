// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
)

// Paths of the stand-in for an authorization server.
const (
	resource = "/.well-known/oauth-protected-resource"
	metadata = "/.well-known/oauth-authorization-server"
	par      = "/par"
	token    = "/token"
	revoke   = "/revoke"
)

// badAnswers are those that nobody makes anything of, wherever they come from.
var badAnswers = map[string]http.HandlerFunc{
	"no JSON":         func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>a-refresh-token") },
	"a list":          answers([]string{"a"}),
	"10 MB":           func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) },
	"10 MB, no":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400); _, _ = w.Write(make([]byte, 10<<20)) },
	"500":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	"redirect":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	"hangs up":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"hangs":           hangs,
	"a nonce, always": refuses(400, "use_dpop_nonce", "again"),
}

func (w *world) begin(ctx context.Context, t *testing.T, callback string) (platform.Begun, *platform.Failure) {
	t.Helper()
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Connector.Begin(ctx, platform.ConnectionRequest{
		Method: platform.ByOAuth, CallbackURL: u, State: "state", Credentials: map[string]string{"identifier": w.account.DID},
	})
	return b, failureOf(t, err)
}

// here is where browsers come back to.
const here = "http://127.0.0.1:1/callback"

// shortly is how long a server that hangs is waited for here.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestAuthorizationServersThatAnswerBadly: a person gets a sentence.
func TestAuthorizationServersThatAnswerBadly(t *testing.T) {
	t.Parallel()
	for _, path := range []string{resource, metadata, par} {
		for name, bad := range badAnswers {
			s, w := newBadServer(t)
			s.say(path, bad)
			if b, f := w.begin(shortly(t), t, here); f == nil || f.Code != platform.CodeUnavailable && f.Code != platform.CodeRejected {
				t.Errorf("%s, %s: begun %+v, failure %+v", path, name, b, f)
			}
		}
	}
	for name, bad := range badAnswers {
		s, w := newBadServer(t)
		b, f := w.begin(t.Context(), t, here)
		if f != nil {
			t.Fatal(f)
		}
		s.say(token, bad)
		_, err := w.Connector.Complete(shortly(t), platform.ConnectionAnswer{
			Resume: b.Resume, Callback: url.Values{"iss": {s.URL}, "code": {"a-code"}},
		})
		if f := failureOf(t, err); f == nil || f.Code != platform.CodeUnavailable && f.Code != platform.CodeRejected {
			t.Errorf("token, %s: failure %+v", name, f)
		}
	}
}

// TestWhatAuthorizationServersSay: what is JSON, and means something.
func TestWhatAuthorizationServersSay(t *testing.T) {
	t.Parallel()
	var s *badServer
	of := func(change func(*badServer) any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { answer(w, change(s)) }
	}
	without := func(name string, value any) http.HandlerFunc {
		return of(func(s *badServer) any { return s.metadata(name, value) })
	}
	for name, c := range map[string]struct {
		path       string
		says       http.HandlerFunc
		code, rule string
		message    string
	}{
		"no OAuth":                   {resource, http.NotFound, platform.CodeRejected, "bluesky.oauth", "does not know OAuth"},
		"no server":                  {resource, answers(map[string]any{}), platform.CodeRejected, "bluesky.oauth", "one authorization server"},
		"a server that is none":      {resource, answers(map[string]any{"authorization_servers": []string{"ftp://x"}}), platform.CodeRejected, "bluesky.oauth", "not a URL"},
		"a server with a path":       {resource, answers(map[string]any{"authorization_servers": []string{"https://x.example/y"}}), platform.CodeRejected, "bluesky.oauth", "more in it"},
		"a server in clear text":     {resource, answers(map[string]any{"authorization_servers": []string{"http://x.example"}}), platform.CodeRejected, "bluesky.oauth", "not encrypted"},
		"another issuer":             {metadata, without("issuer", "https://evil.example"), platform.CodeRejected, "bluesky.oauth", "another one"},
		"no S256":                    {metadata, without("code_challenge_methods_supported", []string{"plain"}), platform.CodeRejected, "bluesky.oauth", "S256"},
		"no public clients":          {metadata, without("token_endpoint_auth_methods_supported", []string{}), platform.CodeRejected, "bluesky.oauth", "none"},
		"no iss":                     {metadata, without("authorization_response_iss_parameter_supported", false), platform.CodeRejected, "bluesky.oauth", "iss"},
		"tokens in clear text":       {metadata, without("token_endpoint", "http://x.example/token"), platform.CodeRejected, "bluesky.oauth", "address"},
		"tokens from nowhere":        {metadata, without("token_endpoint", ""), platform.CodeRejected, "bluesky.oauth", "address"},
		"a page of a script":         {metadata, without("authorization_endpoint", "javascript:alert(1)"), platform.CodeRejected, "bluesky.oauth", "address"},
		"a client that it can't see": {par, refuses(400, "invalid_client_metadata", "fetch failed"), platform.CodeRejected, "bluesky.oauth", "fetch failed"},
		"too fast":                   {par, refuses(429, "slow", ""), platform.CodeRateLimited, "bluesky.rate_limited", "slow down"},
		"nothing pushed":             {par, answers(map[string]any{}), platform.CodeUnavailable, "bluesky.unavailable", ""},
		"an expired authorization":   {token, refuses(400, "invalid_grant", "expired"), platform.CodeAuthFailed, "bluesky.oauth", "expired"},
		"no tokens":                  {token, answers(map[string]any{}), platform.CodeUnavailable, "bluesky.unavailable", ""},
		"a token for whoever has it": {token, of(func(s *badServer) any { return s.tokens("token_type", "Bearer") }), platform.CodeRejected, "bluesky.oauth", "not bound"},
		"no refresh token":           {token, of(func(s *badServer) any { return s.tokens("refresh_token", "") }), platform.CodeUnavailable, "bluesky.unavailable", ""},
		"a token for nothing":        {token, of(func(s *badServer) any { return s.tokens("scope", "openid") }), platform.CodeRejected, "bluesky.oauth", "AT Protocol"},
		"another account":            {token, of(func(s *badServer) any { return s.tokens("sub", "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz") }), platform.CodeAuthFailed, "bluesky.oauth.another_account", "another account"},
		"one that repeats the code":  {token, refuses(400, "unauthorized_client", "no a-code-of-some-length for you"), platform.CodeRejected, "bluesky.oauth", ""},
	} {
		var w *world
		s, w = newBadServer(t)
		s.say(c.path, c.says)
		b, f := w.begin(t.Context(), t, here)
		if c.path == token && f == nil {
			_, err := w.Connector.Complete(t.Context(), platform.ConnectionAnswer{
				Resume: b.Resume, Callback: url.Values{"iss": {s.URL}, "code": {"a-code-of-some-length"}},
			})
			f = failureOf(t, err)
		}
		if f == nil || f.Code != c.code || f.Rule != c.rule || !strings.Contains(f.Message, c.message) {
			t.Errorf("%s: failure %+v", name, f)
		}
		if text := fmt.Sprintf("%+v %s", f, f.PlatformResponse); strings.Contains(text, "a-code-of-some-length") {
			t.Errorf("%s: %s", name, text)
		}
		if given := s.askedFor(revoke); (name == "another account") != (len(given) == 1) {
			t.Errorf("%s: given back: %v", name, given)
		}
	}
}

// TestPrivateAddressesOfAuthorizationServers: no document leads this server to one.
func TestPrivateAddressesOfAuthorizationServers(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	inside := standIn(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	_, port, _ := strings.Cut(strings.TrimPrefix(inside.URL, "http://"), ":")
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "2130706433", "10.0.0.1", "169.254.169.254"} {
		for _, scheme := range []string{"http", "https"} {
			address := scheme + "://" + host + ":" + port
			s, w := newBadServer(t)
			s.say(resource, answers(map[string]any{"authorization_servers": []string{address}}))
			if b, f := w.begin(shortly(t), t, here); f == nil || strings.Contains(f.Message, port) {
				t.Errorf("issuer %s: begun %+v, failure %+v", address, b, f)
			}
			s.say(resource, nil)
			s.say(metadata, answers(s.metadata("pushed_authorization_request_endpoint", address+par)))
			if b, f := w.begin(shortly(t), t, here); f == nil || strings.Contains(f.Message, port) {
				t.Errorf("endpoint %s: begun %+v, failure %+v", address, b, f)
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("it was asked %d times", n)
	}
}

// TestRefreshThatFails: only an end that the server tells of is one.
func TestRefreshThatFails(t *testing.T) {
	t.Parallel()
	bad := maps.Clone(badAnswers)
	bad["a client that it can't see"] = refuses(400, "invalid_client_metadata", "fetch failed")
	bad["too fast"] = refuses(429, "slow", "")
	bad["an end"] = refuses(400, "invalid_grant", "a-refresh-token-of-some-length is over")
	for name, says := range bad {
		s, w := newBadServer(t)
		b, f := w.begin(t.Context(), t, here)
		if f != nil {
			t.Fatal(f)
		}
		c, err := w.Connector.Complete(t.Context(), platform.ConnectionAnswer{
			Resume: b.Resume, Callback: url.Values{"iss": {s.URL}, "code": {"a-code"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Secrets[platform.SecretRefreshToken] = "a-refresh-token-of-some-length"
		s.say(token, says)
		_, err = w.Refresher.Refresh(shortly(t), w.to(), c.Secrets)
		f = failureOf(t, err)
		if f == nil || (f.Code == platform.CodeAuthFailed) != (name == "an end") || f.Code == platform.CodeInvalid {
			t.Errorf("%s: %+v", name, f)
		}
		if text := fmt.Sprintf("%+v %s", f, f.PlatformResponse); strings.Contains(text, "a-refresh-token") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestRefreshTokensAreSentOnce: with a proof that the server takes, which was asked for without one.
func TestRefreshTokensAreSentOnce(t *testing.T) {
	t.Parallel()
	s, w := newBadServer(t)
	b, _ := w.begin(t.Context(), t, here)
	c, err := w.Connector.Complete(t.Context(), platform.ConnectionAnswer{
		Resume: b.Resume, Callback: url.Values{"iss": {s.URL}, "code": {"a-code"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := len(s.askedFor(token))
	s.say(token, func(rw http.ResponseWriter, r *http.Request) {
		if nonceOf(r.Header.Get("DPoP")) != "another" {
			refuses(400, "use_dpop_nonce", "")(rw, r)
			return
		}
		answer(rw, s.tokens("access_token", "the-next"))
	})
	r, err := w.Refresher.Refresh(t.Context(), w.to(), c.Secrets)
	if err != nil || r.Secrets[platform.SecretAccessToken] != "the-next" {
		t.Fatal(err)
	}
	asked := s.askedFor(token)[before:]
	if len(asked) != 2 || asked[0].Has("refresh_token") || !asked[1].Has("refresh_token") {
		t.Errorf("asked: %v", asked)
	}
	if got := s.nonce[before:]; got[0] != "" || got[1] != "another" {
		t.Errorf("nonces %q", got)
	}
}

// TestMovedGrant: behind another authorization server nobody knows of what was allowed, behind the same one it goes on.
func TestMovedGrant(t *testing.T) {
	t.Parallel()
	other, _ := newBadServer(t)
	s, w := newBadServer(t, other.URL)
	b, _ := w.begin(t.Context(), t, here)
	c, err := w.Connector.Complete(t.Context(), platform.ConnectionAnswer{
		Resume: b.Resume, Callback: url.Values{"iss": {s.URL}, "code": {"a-code"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	told := *w.server
	told.PLCURL = movedTo(t, w, other.URL)
	w.Platform = newPlatform(t, &told, s.URL, other.URL)
	sent := len(s.askedFor(token))
	_, err = w.Refresher.Refresh(t.Context(), w.to(), c.Secrets)
	if f := failureOf(t, err); f == nil || f.Code != platform.CodeAuthFailed || !strings.Contains(f.Message, "moved") {
		t.Errorf("behind another: %v", err)
	}
	if n := len(s.askedFor(token)) + len(other.askedFor(token)); n != sent {
		t.Error("a token was sent")
	}
	other.say(resource, answers(map[string]any{"authorization_servers": []string{s.URL}}))
	r, err := w.Refresher.Refresh(t.Context(), w.to(), c.Secrets)
	if err != nil || r.Secrets[bluesky.FieldPDSURL] != other.URL {
		t.Errorf("behind the same: at %s, %v", r.Secrets[bluesky.FieldPDSURL], err)
	}
}
