// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

// back is where the provider sends browsers: nobody listens there, and no test follows them.
const back = "https://dashboard.example/dashboard/oidc/callback"

// TestSignIn: what a provider that this project did not write has given is good, renewed, rotated and revoked; at
// whichever replica, in several tabs at once.
func TestSignIn(t *testing.T) {
	w := newWorld(t)
	one, other := w.provider(t), w.provider(t)
	tab, second := begin(t, one), begin(t, one)
	for _, b := range []oidc.Begun{second, tab} { // each at the other replica
		tokens, next, err := other.Finish(t.Context(), b.Kept, w.returned(t, b, "ann"))
		if err != nil || next != "/dashboard/keys" || tokens.Subject != "ann" {
			t.Fatalf("%+v, on to %q: %v", tokens, next, err)
		}
	}
	tokens := w.signedIn(t, one, "ann")
	renewed, err := other.Renew(t.Context(), tokens.Refresh, "ann")
	if err != nil || renewed.Refresh == tokens.Refresh || renewed.ID == "" {
		t.Fatalf("%+v, %v", renewed, err)
	}
	is(t, "revoked", one.Revoke(t.Context(), renewed.Refresh), nil)
	_, err = one.Renew(t.Context(), renewed.Refresh, "ann")
	is(t, "renewed after that", err, oidc.ErrRefused)
	bob := w.signedIn(t, one, "bob")
	_, err = one.Renew(t.Context(), bob.Refresh, "ann")
	is(t, "somebody else's", err, oidc.ErrAnswer)
	// Whoever says no at the provider is told so, and is not an answer of a stranger's.
	b := begin(t, one)
	page, _ := url.Parse(b.URL)
	at, err := w.issuer.Refuse(t.Context(), page)
	is(t, "refuse", err, nil)
	_, next, err := one.Finish(t.Context(), b.Kept, at.Query())
	var denied *oidc.DeniedError
	if !errors.As(err, &denied) || denied.Code != "access_denied" || next != "/dashboard/keys" {
		t.Errorf("%v, on to %q", err, next)
	}
	q := at.Query()
	q.Set("error", "call this number")
	if _, _, err = one.Finish(t.Context(), b.Kept, q); !errors.As(err, &denied) || denied.Code != "server_error" {
		t.Errorf("somebody's own text: %v", err)
	}
}

// TestAsked: the sign-in has what the protocol wants, and nothing that gives its secret away.
func TestAsked(t *testing.T) {
	w := newWorld(t)
	b := begin(t, w.provider(t))
	page, _ := url.Parse(b.URL)
	q := page.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": oauth.Dashboard, "redirect_uri": back, "code_challenge_method": "S256",
		"scope": "openid profile groups offline_access", "prompt": "consent", "state": b.State,
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	seen := map[string]bool{}
	for _, value := range []string{q.Get("state"), q.Get("nonce"), q.Get("code_challenge"), strings.Split(b.Kept, ".")[0]} {
		if len(value) != 43 || seen[value] || strings.Contains(b.URL, strings.Split(b.Kept, ".")[0]) {
			t.Errorf("%q: too short, there twice, or the secret itself", value)
		}
		seen[value] = true
	}
	another, _ := url.Parse(begin(t, w.provider(t)).URL)
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if another.Query().Get(name) == q.Get(name) {
			t.Errorf("the %s of two sign-ins is one", name)
		}
	}
	// offline_access is asked only of a provider that has it.
	w.issuer.Change(nil, func(path string, body []byte) []byte {
		return []byte(strings.Replace(string(body), `"offline_access",`, "", 1))
	})
	page, _ = url.Parse(begin(t, w.provider(t)).URL)
	if q := page.Query(); q.Get("scope") != "openid profile groups" || q.Has("prompt") {
		t.Errorf("asked of one that has it not: %v", q)
	}
}

// TestAttacks: an answer that is not this browser's, this sign-in's or this provider's signs nobody in.
func TestAttacks(t *testing.T) {
	w := newWorld(t)
	p := w.provider(t)
	mine, others := begin(t, p), begin(t, p)
	q, theirs := w.returned(t, mine, "ann"), w.returned(t, others, "mallory")
	with := func(name string, values ...string) url.Values {
		changed := url.Values{}
		for n, v := range q {
			changed[n] = v
		}
		if changed[name] = values; len(values) == 0 {
			changed.Del(name)
		}
		return changed
	}
	parts := strings.Split(mine.Kept, ".")
	elsewhere := w.provider(t, func(c *oidc.Config) { c.ClientID = "another" })
	for reason, a := range map[string]struct {
		p     *oidc.Provider
		kept  string
		query url.Values
	}{
		"another browser, which kept nothing":     {p, "", q},
		"another browser, with its own sign-in":   {p, others.Kept, q},
		"another sign-in's state":                 {p, mine.Kept, with("state", others.State)},
		"no state":                                {p, mine.Kept, with("state")},
		"two states":                              {p, mine.Kept, with("state", mine.State, mine.State)},
		"no code":                                 {p, mine.Kept, with("code")},
		"two codes":                               {p, mine.Kept, with("code", q.Get("code"), theirs.Get("code"))},
		"another issuer (mix-up)":                 {p, mine.Kept, with("iss", "https://evil.example")},
		"no issuer, of a provider that names its": {p, mine.Kept, with("iss")},
		"two issuers":                             {p, mine.Kept, with("iss", w.issuer.URL, "https://evil.example")},
		"a sign-in at another client":             {elsewhere, mine.Kept, q},
		"longer than it was begun for":            {p, parts[0] + ".99999999999." + parts[2], q},
		"to another path":                         {p, parts[0] + "." + parts[1] + ".L2V2aWw", q},
		"nonsense kept":                           {p, "a.b.c.d", q},
	} {
		_, _, err := a.p.Finish(t.Context(), a.kept, a.query)
		is(t, reason, err, oidc.ErrAnswer)
	}
	// A code of somebody else's sign-in does not fit this one's verifier.
	_, _, err := p.Finish(t.Context(), mine.Kept, with("code", theirs.Get("code")))
	is(t, "another one's code", err, oidc.ErrAnswer)
	_, _, err = p.Finish(t.Context(), mine.Kept, q)
	is(t, "as it was", err, nil)
	_, _, err = p.Finish(t.Context(), mine.Kept, q)
	is(t, "replayed, with the cookie", err, oidc.ErrAnswer)

	late := begin(t, p)
	q = w.returned(t, late, "ann")
	w.clock.SetTime(late.Until)
	_, _, err = p.Finish(t.Context(), late.Kept, q)
	is(t, "ten minutes later", err, oidc.ErrAnswer)
}

// TestTokens: an ID token that was made for another sign-in, another client or another time is none.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	// The provider is asked for another nonce than this sign-in's.
	w.issuer.Change(func(r *http.Request) {
		if q := r.URL.Query(); q.Has("nonce") {
			q.Set("nonce", "another")
			r.URL.RawQuery = q.Encode()
		}
	}, nil)
	p := w.provider(t)
	b := begin(t, p)
	_, _, err := p.Finish(t.Context(), b.Kept, w.returned(t, b, "ann"))
	is(t, "another nonce", err, oidc.ErrAnswer)
	w.issuer.Change(nil, nil)

	tokens := w.signedIn(t, p, "ann")
	instead := func(reason, id string, want error) {
		t.Helper()
		w.issuer.Change(nil, func(path string, body []byte) []byte {
			var answer map[string]any
			if strings.HasSuffix(path, "/accessToken") && json.Unmarshal(body, &answer) == nil {
				answer["id_token"] = id
				body, _ = json.Marshal(answer)
			}
			return body
		})
		b := begin(t, p)
		_, _, err := p.Finish(t.Context(), b.Kept, w.returned(t, b, "ann"))
		is(t, reason, err, want)
		w.issuer.Change(nil, nil)
	}
	instead("of another sign-in", tokens.ID, oidc.ErrAnswer)
	instead("none", "", oidc.ErrAnswer)
	instead("nonsense", "a.b.c", oidc.ErrAnswer)
	instead("unsigned", "eyJhbGciOiJub25lIn0."+strings.Split(tokens.ID, ".")[1]+".", oidc.ErrAnswer)
	instead("changed", tokens.ID[:len(tokens.ID)-8]+"AAAAAAAA", oidc.ErrAnswer)

	// A client that the tokens are not for; and a clock by which they are over.
	b = begin(t, p)
	q := w.returned(t, b, "ann")
	w.issuer.Change(func(r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/accessToken") { // whoever it says it is
			r.SetBasicAuth(oauth.Dashboard, url.QueryEscape(w.issuer.ClientSecret))
		}
	}, nil)
	wrong := w.provider(t, func(c *oidc.Config) { c.ClientID = "another" })
	_, err = wrong.Renew(t.Context(), tokens.Refresh, "ann")
	is(t, "another audience", err, oidc.ErrAnswer)
	w.issuer.Change(nil, nil)
	w.clock.SetTime(w.clock.Now().Add(9 * time.Minute))
	_, _, err = p.Finish(t.Context(), b.Kept, q)
	is(t, "within its time", err, nil)
	again := w.signedIn(t, p, "ann")
	w.clock.SetTime(time.Now().Add(16 * time.Minute)) // the issuer's clock has gone on since the test began
	_, err = p.Renew(t.Context(), again.Refresh, "ann")
	is(t, "expired as soon as it is made", err, oidc.ErrAnswer)
}

// TestAway: nothing is asked before somebody signs in, and a provider that comes up later is found.
func TestAway(t *testing.T) {
	w := newWorld(t)
	w.issuer.Away.Store(true)
	p := w.provider(t)
	_, err := p.Begin(t.Context(), "/")
	is(t, "away at the start", err, oidc.ErrUnavailable)
	w.issuer.Away.Store(false)
	b := begin(t, p)
	q := w.returned(t, b, "ann")
	w.issuer.Away.Store(true)
	_, _, err = p.Finish(t.Context(), b.Kept, q)
	is(t, "away when they come back", err, oidc.ErrUnavailable)
	w.issuer.Away.Store(false)
	tokens, _, err := p.Finish(t.Context(), b.Kept, q)
	is(t, "loaded again", err, nil)
	w.issuer.Away.Store(true)
	_, err = p.Renew(t.Context(), tokens.Refresh, "ann")
	is(t, "away at a renewal", err, oidc.ErrUnavailable)
	is(t, "away at a revocation", p.Revoke(t.Context(), tokens.Refresh), oidc.ErrUnavailable)
	// What it has said of itself holds on.
	w.clock.SetTime(w.clock.Now().Add(2 * time.Hour))
	_, err = p.Begin(t.Context(), "/")
	is(t, "described long ago", err, nil)
	w.issuer.Away.Store(false)

	for reason, mod := range map[string]func(*oidc.Config){
		"no authority": func(c *oidc.Config) { c.Roots = x509.NewCertPool() },
		"another name": func(c *oidc.Config) { c.Issuer = strings.Replace(c.Issuer, "127.0.0.1", "localhost", 1) },
		"a slash more": func(c *oidc.Config) { c.Issuer += "/" },
		"no provider":  func(c *oidc.Config) { c.Issuer += "/nowhere" },
	} {
		_, err := w.provider(t, mod).Begin(t.Context(), "/")
		is(t, reason, err, oidc.ErrUnavailable)
	}
	long := w.provider(t)
	w.issuer.Change(nil, func(string, []byte) []byte { return []byte("{" + strings.Repeat(" ", 2<<20) + "}") })
	_, err = long.Begin(t.Context(), "/")
	is(t, "a description without an end", err, oidc.ErrUnavailable)
	w.issuer.Change(nil, func(_ string, body []byte) []byte {
		return []byte(strings.ReplaceAll(string(body), w.issuer.URL+"/oauth", "http://127.0.0.1:9/oauth"))
	})
	_, err = long.Begin(t.Context(), "/")
	is(t, "a page in clear text", err, oidc.ErrUnavailable)
}

// TestIssuers: a provider that the apiserver could not trust is refused at once.
func TestIssuers(t *testing.T) {
	for issuer, want := range map[string]bool{
		"https://id.example.com": true, "https://id.example.com/realms/acme": true, "https://127.0.0.1:8443/": true,
		"": false, "id.example.com": false, "http://id.example.com": false, "http://127.0.0.1": false,
		"https://ann:secret@id.example.com": false, "https://id.example.com?x=y": false, "https://id.example.com#x": false,
		"https://": false, "ftp://id.example.com": false, "https://id.example.com/%zz": false,
	} {
		_, err := oidc.New(oidc.Config{
			Issuer: issuer, ClientID: "dashboard", RedirectURL: back, Random: rand.Reader, Clock: clock.RealClock{},
		})
		if (err == nil) != want {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}
