// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

// signer is a key that signs ID tokens.
type signer struct{ key *rsa.PrivateKey }

type object = map[string]any

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}
}

// published is the key as a provider publishes it (RFC 7517).
func (s signer) published() []byte {
	text, _ := json.Marshal(object{"keys": []object{{
		"kty": "RSA", "kid": "own", "use": "sig", "alg": "RS256",
		"n": encoded(s.key.N.Bytes()), "e": encoded(big.NewInt(int64(s.key.E)).Bytes()),
	}}})
	return text
}

func (s signer) signed(claims object) string {
	text := unsigned("RS256", claims)
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	return text + "." + encoded(signature)
}

func unsigned(algorithm string, claims object) string {
	head, _ := json.Marshal(object{"alg": algorithm, "kid": "own"})
	body, _ := json.Marshal(claims)
	return encoded(head) + "." + encoded(body)
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// TestIDTokens: each check of an ID token alone (OpenID Connect Core, section 3.1.3.7). All but one thing about it is
// right: it is of this very sign-in, and signed by the provider, whose key this test has.
func TestIDTokens(t *testing.T) {
	w := newWorld(t)
	own, stranger := newSigner(t), newSigner(t)
	claim := func(name string, value any) func(object) string {
		return func(claims object) string {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
			return own.signed(claims)
		}
	}
	audiences := func(authorized any) func(object) string {
		return func(claims object) string {
			claims["aud"] = []string{oauth.Dashboard, "another"}
			return claim("azp", authorized)(claims)
		}
	}
	p := w.provider(t)
	for _, c := range []struct {
		reason string
		made   func(claims object) string
		want   error
	}{
		{"nothing is changed", own.signed, nil},
		{"another nonce", claim("nonce", "another"), oidc.ErrAnswer},
		{"no nonce", claim("nonce", nil), oidc.ErrAnswer},
		{"another issuer", claim("iss", "https://evil.example"), oidc.ErrAnswer},
		{"no issuer", claim("iss", nil), oidc.ErrAnswer},
		{"another audience", claim("aud", "another"), oidc.ErrAnswer},
		{"no audience", claim("aud", nil), oidc.ErrAnswer},
		{"several audiences, made for this client", audiences(oauth.Dashboard), nil},
		{"several audiences, made for another client", audiences("another"), oidc.ErrAnswer},
		{"several audiences, made for nobody says whom", audiences(nil), oidc.ErrAnswer},
		{"this audience, made for another client", claim("azp", "another"), oidc.ErrAnswer},
		{"about nobody", claim("sub", nil), oidc.ErrAnswer},
		{"expired", claim("exp", w.clock.Now().Add(-time.Second).Unix()), oidc.ErrAnswer},
		{"without an end", claim("exp", nil), oidc.ErrAnswer},
		{"not good yet", claim("nbf", w.clock.Now().Add(10*time.Minute).Unix()), oidc.ErrAnswer},
		{"another access token's", claim("at_hash", encoded(make([]byte, 16))), oidc.ErrAnswer},
		{"of no access token", claim("at_hash", nil), nil},
		{"signed by somebody else", stranger.signed, oidc.ErrAnswer},
		{"not signed", func(claims object) string { return unsigned("none", claims) + "." }, oidc.ErrAnswer},
		{"signed by what the client knows as well", func(claims object) string {
			text := unsigned("HS256", claims)
			mac := hmac.New(sha256.New, []byte(w.issuer.ClientSecret))
			mac.Write([]byte(text))
			return text + "." + encoded(mac.Sum(nil))
		}, oidc.ErrAnswer},
	} {
		w.issuer.Change(nil, func(path string, body []byte) []byte {
			if strings.HasSuffix(path, "/jwks") {
				return own.published()
			}
			return withID(body, c.made)
		})
		b, before := begin(t, p), w.issuer.Revocations.Load()
		_, _, err := p.Finish(t.Context(), b.Kept, w.returned(t, b, "ann"))
		is(t, c.reason, err, c.want)
		// The refresh token that has come with one that is not taken is given back.
		if revoked := w.issuer.Revocations.Load() - before; (revoked == 1) != (c.want != nil) {
			t.Errorf("%s: %d refresh tokens were given back", c.reason, revoked)
		}
	}
}

// withID is an answer of the provider's with another ID token in the place of its own, if it has one.
func withID(body []byte, made func(claims object) string) []byte {
	var answer object
	if json.Unmarshal(body, &answer) != nil {
		return body
	}
	id, _ := answer["id_token"].(string)
	parts := strings.Split(id, ".")
	if len(parts) != 3 {
		return body
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims object
	_ = json.Unmarshal(payload, &claims) // what is none has none, and is refused
	answer["id_token"] = made(claims)
	text, _ := json.Marshal(answer)
	return text
}

// TestWayToTheProvider: what is secret goes where the provider is, as it says itself over TLS, and nowhere else; and
// nobody waits for an answer without an end.
func TestWayToTheProvider(t *testing.T) {
	w := newWorld(t)
	var strayed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	w.issuer.Change(nil, func(_ string, body []byte) []byte {
		return []byte(strings.ReplaceAll(string(body), w.issuer.URL+"/oauth/v2/accessToken", elsewhere.URL))
	})
	p := w.provider(t)
	b := begin(t, p)
	_, _, err := p.Finish(t.Context(), b.Kept, w.returned(t, b, "ann"))
	is(t, "tokens in clear text", err, oidc.ErrUnavailable)
	if n := strayed.Load(); n != 0 {
		t.Errorf("%d requests went there", n)
	}

	w.issuer.Change(nil, func(path string, body []byte) []byte {
		return []byte(strings.TrimSuffix(string(body), "}") + strings.Repeat(" ", 2<<20) + "}")
	})
	_, err = w.provider(t).Begin(t.Context(), "/")
	is(t, "a description that is right, and has no end", err, oidc.ErrUnavailable)
	w.issuer.Change(nil, nil)

	// It sends the request for tokens on to another place.
	p = w.provider(t)
	b = begin(t, p)
	page, _ := url.Parse(b.URL)
	query := w.returned(t, b, "ann")
	var asked atomic.Int64
	w.issuer.Change(func(r *http.Request) {
		if asked.Add(1); r.Method == http.MethodPost {
			r.Method, r.URL.Path, r.URL.RawQuery, r.Body, r.ContentLength = http.MethodGet, page.Path, page.RawQuery, http.NoBody, 0
		}
	}, nil)
	_, _, err = p.Finish(t.Context(), b.Kept, query)
	is(t, "sent on", err, oidc.ErrUnavailable)
	if n := asked.Load(); n != 1 {
		t.Errorf("it was followed: %d requests", n)
	}

	// The keys that ID tokens are signed by can't be had at the moment.
	w.issuer.Change(func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/jwks", "/nowhere", 1) }, nil)
	b = begin(t, p)
	_, _, err = p.Finish(t.Context(), b.Kept, w.returned(t, b, "ann"))
	is(t, "without keys", err, oidc.ErrUnavailable)

	// A public client says in the form who it is, and has nothing to show.
	var shown atomic.Value
	w.issuer.Change(func(r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/accessToken") {
			shown.Store(r.Header.Get("Authorization"))
		}
	}, nil)
	public := w.provider(t, func(c *oidc.Config) { c.ClientSecret = nil })
	_, err = public.Renew(t.Context(), "a refresh token", "ann")
	is(t, "a public client, which this provider does not know", err, oidc.ErrUnavailable)
	w.issuer.Change(nil, nil)
	if shown.Load() != "" {
		t.Errorf("a public client shows %q", shown.Load())
	}
}
