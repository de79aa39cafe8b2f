// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

type world struct {
	*testing.T
	issuer *oauth.Issuer
	clock  *clocktesting.FakePassiveClock
}

func newWorld(t *testing.T) *world {
	t.Helper()
	issuer, err := oauth.StartIssuer(t.Context(), t.TempDir(), 15*time.Minute, back)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(issuer.Stop)
	return &world{t, issuer, clocktesting.NewFakePassiveClock(time.Now())}
}

// provider is a client of the issuer, in another process each time.
func (w *world) provider(t *testing.T, mods ...func(*oidc.Config)) *oidc.Provider {
	t.Helper()
	c := oidc.Config{
		Issuer: w.issuer.URL, ClientID: oauth.Dashboard, Roots: w.issuer.Roots, RedirectURL: back,
		ClientSecret: func() (string, error) { return w.issuer.ClientSecret, nil },
		Scopes:       []string{"profile", "groups", "offline_access"}, Random: rand.Reader, Clock: w.clock,
	}
	for _, mod := range mods {
		mod(&c)
	}
	p, err := oidc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func begin(t *testing.T, p *oidc.Provider) oidc.Begun {
	t.Helper()
	b, err := p.Begin(t.Context(), "/dashboard/keys")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// returned is what a browser comes back with that was sent to the provider.
func (w *world) returned(t *testing.T, b oidc.Begun, who string) url.Values {
	t.Helper()
	page, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	at, err := w.issuer.SignIn(t.Context(), page, who)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(at.String(), back+"?") {
		t.Fatalf("it was sent to %s", at)
	}
	return at.Query()
}

func (w *world) signedIn(t *testing.T, p *oidc.Provider, who string) oidc.Tokens {
	t.Helper()
	b := begin(t, p)
	tokens, next, err := p.Finish(t.Context(), b.Kept, w.returned(t, b, who))
	if err != nil || next != "/dashboard/keys" || tokens.Subject != who || tokens.Refresh == "" || tokens.ID == "" {
		t.Fatalf("%+v, on to %q: %v", tokens, next, err)
	}
	return tokens
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
