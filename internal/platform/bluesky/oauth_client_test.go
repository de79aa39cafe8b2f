// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/auth/oauth"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// TestClientMetadata: what the reference implementation and indigo take for a client's metadata.
func TestClientMetadata(t *testing.T) {
	t.Parallel()
	_, w := newBadServer(t)
	callback, err := url.Parse("https://api.example.com/below/v1/accounts/oauth/bluesky/callback")
	if err != nil {
		t.Fatal(err)
	}
	text, err := w.ClientMetadata(callback)
	if err != nil {
		t.Fatal(err)
	}
	const id = "https://api.example.com/below/v1/accounts/oauth/bluesky/client-metadata.json"
	var m oauth.ClientMetadata
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(id); err != nil || m.RedirectURIs[0] != callback.String() || m.TokenEndpointAuthMethod != "none" {
		t.Errorf("%s: %v", text, err)
	}
	if err := pds.CheckClientMetadata(t.Context(), text); err != nil {
		t.Error(err)
	}
	if err := pds.CheckClientMetadata(t.Context(), []byte(strings.Replace(string(text), "https://api", "ftp://api", 1))); err == nil {
		t.Error("anything is taken")
	}
}

// TestWhereThisServerIs decides whether OAuth can be used, and as whom.
func TestWhereThisServerIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ callback, id, redirect string }{
		{"https://api.example.com/callback", "https://api.example.com/client-metadata.json", "https://api.example.com/callback"},
		{"https://api.example.com:8443/callback", "https://api.example.com:8443/client-metadata.json", "https://api.example.com:8443/callback"},
		{"http://localhost:8080/callback", "http://localhost?", "http://127.0.0.1:8080/callback"},
		{"http://localhost/callback", "http://localhost?", "http://127.0.0.1/callback"},
		{"http://letmepost.localhost:8080/callback", "http://localhost?", "http://127.0.0.1:8080/callback"},
		{"http://letmepost.localhost/callback", "http://localhost?", "http://127.0.0.1/callback"},
		{"http://127.0.0.1:8080/callback", "http://localhost?", "http://127.0.0.1:8080/callback"},
		{"http://[::1]:8080/callback", "http://localhost?", "http://[::1]:8080/callback"},
		{"http://api.example.com/callback", "", ""},
		{"https://127.0.0.1/callback", "", ""},
		{"https://10.0.0.1/callback", "", ""},
		{"https://localhost/callback", "", ""},
		{"", "", ""},
	} {
		s, w := newBadServer(t)
		in := platform.ConnectionRequest{
			Method: platform.ByOAuth, State: "state", Credentials: map[string]string{"identifier": w.account.DID},
		}
		if c.callback != "" {
			u, err := url.Parse(c.callback)
			if err != nil {
				t.Fatal(err)
			}
			in.CallbackURL = u
		}
		b, err := w.Connector.Begin(t.Context(), in)
		_, unfit := w.ClientMetadata(in.CallbackURL)
		if c.id == "" {
			if f := failureOf(t, err); f == nil || f.Code != platform.CodeNotEnabled || len(s.askedFor(par)) > 0 || unfit == nil {
				t.Errorf("%q: begun %+v, failure %+v", c.callback, b, f)
			}
			continue
		}
		if err != nil || unfit != nil {
			t.Errorf("%q: %v, %v", c.callback, err, unfit)
			continue
		}
		got := s.askedFor(par)[0]
		if !strings.HasPrefix(got.Get("client_id"), c.id) || got.Get("redirect_uri") != c.redirect || got.Get("state") != "state" {
			t.Errorf("%q: pushed %v", c.callback, got)
		}
	}
}

// TestHowAnAccountIsConnected is what the caller says, and an app password where they say nothing.
func TestHowAnAccountIsConnected(t *testing.T) {
	t.Parallel()
	_, w := newBadServer(t)
	if !w.InBrowser || len(w.Fields) == 0 {
		t.Error("it can't be connected in both ways")
	}
	callback, _ := url.Parse(here)
	for _, c := range []struct{ method, identifier, kind, code string }{
		{"", w.account.DID, platform.ByCredentials, ""},
		{platform.ByCredentials, w.account.DID, platform.ByCredentials, ""},
		{platform.ByOAuth, "", "", platform.CodeInvalid}, // who says where the browser goes is missing
		{platform.ByOAuth, " ", "", platform.CodeInvalid},
		{platform.ByOAuth, w.account.DID, platform.ByOAuth, ""},
		{platform.ByOAuth, "somebody@example.com", "", platform.CodeInvalid},
		{platform.ByOAuth, "!", "", platform.CodeInvalid},
	} {
		b, err := w.Connector.Begin(t.Context(), platform.ConnectionRequest{
			Method: c.method, CallbackURL: callback, Credentials: map[string]string{"identifier": c.identifier},
		})
		f := failureOf(t, err)
		if f != nil && f.Code != c.code || f == nil && (c.code != "" || b.Descriptor.Kind != c.kind) ||
			(b.AuthorizationURL != nil) != (c.kind == platform.ByOAuth) {
			t.Errorf("%+v: begun %+v, failure %+v", c, b, f)
		}
	}
}
