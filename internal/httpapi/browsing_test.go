// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// browsed is a platform's part that sends browsers away, as those that are real do: what it is given to go on with
// comes back, or it refuses. during is run while it is asked.
type browsed struct {
	platform.Connector
	during func()
}

func (b *browsed) Begin(ctx context.Context, in platform.ConnectionRequest) (platform.Begun, error) {
	if in.Method != platform.ByOAuth {
		return b.Connector.Begin(ctx, in)
	}
	to := &url.URL{Scheme: "https", Host: "platform.example", Path: "/authorize", RawQuery: url.Values{
		"state": {in.State}, "redirect_uri": {in.CallbackURL.String()},
	}.Encode()}
	return platform.Begun{
		State: platform.ConnectionStable, Descriptor: platform.Descriptor{Kind: platform.ByOAuth},
		AuthorizationURL: to, Resume: []byte(verifier + in.Credentials[platform.FieldIdentifier]),
	}, nil
}

func (b *browsed) Complete(ctx context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	if in.Callback == nil {
		return b.Connector.Complete(ctx, in)
	}
	if b.during != nil {
		b.during()
	}
	switch code := in.Callback.Get("code"); {
	case in.Callback.Get("error") == "temporarily_unavailable":
		return platform.Connection{}, &platform.Failure{Code: platform.CodeUnavailable, Message: "It does not answer."}
	case in.Callback.Get("error") != "":
		return platform.Connection{}, &platform.Failure{Code: platform.CodeAuthFailed, Message: "The person has refused."}
	case code != "good" || !strings.HasPrefix(string(in.Resume), verifier) ||
		in.CallbackURL.String() != ourOrigin+"/v1/accounts/oauth/bluesky/callback":
		return platform.Connection{}, fmt.Errorf("code %q, %q, %v", code, in.Resume, in.CallbackURL)
	}
	return platform.Connection{
		PlatformAccountID: "did:test:browsed", Secrets: platform.Secrets{platform.SecretAppPassword: "a-token"},
	}, nil
}

type browsing struct {
	*fixture
	part *browsed
}

// newBrowsing takes objects, and changes of the parts.
func newBrowsing(t *testing.T, given ...any) browsing {
	t.Helper()
	k, err := vault.NewKeyset()
	check(t, err)
	var keeper *connection.Keeper
	part := &browsed{}
	var objects []any
	mods := []func(*parts){}
	for _, o := range given {
		if mod, ok := o.(func(*parts)); ok {
			mods = append(mods, mod)
		} else {
			objects = append(objects, o)
		}
	}
	f := newFixture(t, objects, append(mods, func(c *parts) {
		keeping(t, k, &keeper)(c)
		p, _ := c.Platforms.Get(bluesky.Name)
		part.Connector = p.Connector
		p.Connector = part
		c.Platforms = platform.List{p}
		c.PublicURL, c.ReturnTo = ourOrigin, []string{appOrigin}
	})...)
	return browsing{f, part}
}

// begin begins a connection and returns the browser's state.
func (b browsing) begin(t *testing.T, key, more string) string {
	t.Helper()
	begun := ok[begunConnection](t, b.fixture, sent{
		method: http.MethodPost, target: "/v1/accounts/connect/bluesky", key: key, body: `{"method":"oauth"` + more + `}`,
	})
	u, err := url.Parse(begun.Descriptor.AuthorizationURL)
	check(t, err)
	if begun.Descriptor.Kind != platform.ByOAuth || u.Host != "platform.example" || len(u.Query().Get("state")) < 43 {
		t.Fatalf("%+v", begun)
	}
	return u.Query().Get("state")
}

func (b browsing) comesBack(query string) *httptest.ResponseRecorder {
	return b.do(http.MethodGet, "/v1/accounts/oauth/bluesky/callback?"+query, "")
}
