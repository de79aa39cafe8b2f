// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// SignInTime is how long somebody may be at the provider's pages.
const SignInTime = 10 * time.Minute

// maxNext is how long a path may be that somebody goes on at: browsers keep it in a cookie. In bytes; a longer one is
// left out, and they go on at the beginning.
const maxNext = 1 << 10

// A sign-in that has begun is in the browser that has begun it, and nowhere else: whichever replica it comes back to
// knows all about it, and nobody can fill a table with those that are never finished. The browser keeps a random
// secret, of which state, nonce and verifier are made. None of those gives it away, so that whoever sees the provider's
// address bar can't make the cookie, and whoever has no cookie has no verifier.

// begun is a sign-in that has begun.
type begun struct {
	secret string    // 256 random bits, in base64url
	until  time.Time // to the second, as the browser keeps it
	next   string    // a path; once it comes from a browser, whoever goes there has to check it
	of     string    // the provider's client: one sign-in is no other's
}

// made is one of the values of a sign-in. Until when it is good, and where it goes on, are part of it. So a browser
// that changes them has no state that fits. Each part stands there with its length: two lists of parts could be one
// text otherwise.
func (b *begun) made(what string) string {
	mac := hmac.New(sha256.New, []byte(b.secret))
	for _, part := range []string{what, b.of, strconv.FormatInt(b.until.Unix(), 10), b.next} {
		_, _ = fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// String is what the browser keeps; parseBegun and Until read it. The client is not in it: each process puts in its
// own.
func (b *begun) String() string {
	return strings.Join([]string{
		b.secret, strconv.FormatInt(b.until.Unix(), 10), base64.RawURLEncoding.EncodeToString([]byte(b.next)),
	}, ".")
}

// parseBegun reads what a browser has kept. Nothing of it can be relied on before the state fits (made).
func (p *Provider) parseBegun(kept string) (*begun, error) {
	parts := strings.Split(kept, ".")
	if len(parts) != 3 {
		return nil, errors.New("the browser has kept nothing of it")
	}
	seconds, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return nil, errors.New("what the browser has kept can't be read")
	}
	next, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, errors.New("what the browser has kept can't be read")
	}
	return &begun{secret: parts[0], until: time.Unix(seconds, 0), next: string(next), of: p.client()}, nil
}

// client is what a sign-in is bound to: one that was begun at another provider, or as another client of this one,
// must not be finished here.
func (p *Provider) client() string { return p.c.Issuer + " " + p.c.ClientID }

// Begun is a sign-in that has begun.
type Begun struct {
	// URL is the provider's page.
	URL string
	// State tells sign-ins of one browser apart: it comes back with it.
	State string
	// Kept is for the browser alone, until Until.
	Kept  string
	Until time.Time
}

// Begin begins a sign-in. Whoever comes back from it goes on at next. The error is ErrUnavailable.
func (p *Provider) Begin(ctx context.Context, next string) (Begun, error) {
	d, err := p.describe(ctx)
	if err != nil {
		return Begun{}, err
	}
	var random [32]byte
	if _, err := io.ReadFull(p.c.Random, random[:]); err != nil {
		return Begun{}, fmt.Errorf("begin a sign-in: %w", err)
	}
	if len(next) > maxNext {
		next = ""
	}
	b := &begun{
		secret: base64.RawURLEncoding.EncodeToString(random[:]), next: next, of: p.client(),
		until: p.c.Clock.Now().Add(SignInTime),
	}
	options := []oauth2.AuthCodeOption{goidc.Nonce(b.made("nonce")), oauth2.S256ChallengeOption(b.made("verifier"))}
	for _, scope := range d.oauth.Scopes {
		if scope == goidc.ScopeOfflineAccess { // OpenID Connect Core, section 11: it must be asked for so
			options = append(options, oauth2.SetAuthURLParam("prompt", "consent"))
		}
	}
	state := b.made("state")
	return Begun{URL: d.oauth.AuthCodeURL(state, options...), State: state, Kept: b.String(), Until: b.until}, nil
}

// Until is when something that a browser has kept is over, as it says itself; what is none was over before all
// others. It is not verified: it only serves to choose which of several a browser is to forget.
func Until(kept string) int64 {
	_, rest, _ := strings.Cut(kept, ".")
	seconds, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.ParseInt(seconds, 10, 64) // 0 if it is none
	return n
}

// DeniedError is what the provider says instead of who it is: most often that the person does not want to. Code is
// one of codes, and no text that somebody has put into a link: so it may be shown, and stand in a log.
type DeniedError struct{ Code string }

func (e *DeniedError) Error() string { return "the OpenID provider says " + e.Code }

// codes are those of RFC 6749, section 4.1.2.1, and OpenID Connect Core, section 3.1.2.6. Others are a text of
// whoever has made the link.
var codes = map[string]bool{
	"access_denied": true, "invalid_request": true, "unauthorized_client": true, "unsupported_response_type": true,
	"invalid_scope": true, "server_error": true, "temporarily_unavailable": true, "interaction_required": true,
	"login_required": true, "account_selection_required": true, "consent_required": true,
}

// Finish takes in who has come back with this query, to a browser that has kept kept. next is where they go on. The
// error is ErrUnavailable, ErrAnswer, or a *DeniedError.
func (p *Provider) Finish(ctx context.Context, kept string, query url.Values) (t Tokens, next string, err error) {
	b, err := p.parseBegun(kept)
	if err != nil {
		return t, "", fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	// Before anything is asked of the provider: whoever has not the cookie of this sign-in causes no request.
	if !same(query["state"], b.made("state")) {
		return t, "", fmt.Errorf("%w: its state is another one's", ErrAnswer)
	}
	// The browser has said until when; but the state would be another one if that were changed.
	if !p.c.Clock.Now().Before(b.until) {
		return t, "", fmt.Errorf("%w: it was begun more than %v ago", ErrAnswer, SignInTime)
	}
	d, err := p.describe(ctx)
	if err != nil {
		return t, "", err
	}
	// Of which provider the answer is, it says itself if it can (RFC 9207): a code of another one is not sent to this one.
	if iss, named := query["iss"]; (named || d.NamesItself) && !same(iss, p.c.Issuer) {
		return t, "", fmt.Errorf("%w: it is of another issuer", ErrAnswer)
	}
	if code := query.Get("error"); code != "" {
		if !codes[code] {
			code = "server_error"
		}
		return t, b.next, &DeniedError{code}
	}
	code := query["code"]
	if len(code) != 1 || code[0] == "" {
		return t, "", fmt.Errorf("%w: there is no code", ErrAnswer)
	}
	t, err = p.exchange(ctx, d, code[0], b)
	return t, b.next, err
}

// same tells whether there is one value, and it is the wanted one, in a time that does not depend on it.
func same(values []string, want string) bool {
	return len(values) == 1 && subtle.ConstantTimeCompare([]byte(values[0]), []byte(want)) == 1
}
