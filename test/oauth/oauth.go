// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oauth runs a real authorization server for tests of accounts that are connected in a browser: oidc-provider
// from npm, on loopback. hack/oauth/build.sh installs it. It plays the browser, too.
package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/letmepost/letmepost-operator/test/nodejs"
)

// Clients of the server.
const (
	Plain   = "plain"   // is refused with a code_verifier
	Partner = "partner" // so is this one, which gets refresh tokens
	PKCE    = "pkce"    // is refused without one
)

// Server is an authorization server that runs. Its addresses are LinkedIn's, on another host.
type Server struct {
	*nodejs.Process `json:"-"`

	URL          string `json:"url"`
	ClientSecret string `json:"clientSecret"`

	transport http.RoundTripper // of who browses it; nil: the usual one
}

// Start starts a server, and returns when it answers. Browsers may be sent back to the given addresses.
func Start(ctx context.Context, redirectURIs ...string) (*Server, error) {
	return start(ctx, "OAUTH_REDIRECT_URIS="+strings.Join(redirectURIs, ","))
}

// start is Start, with variables of the environment.
func start(ctx context.Context, variables ...string) (*Server, error) {
	s := new(Server)
	var err error
	s.Process, err = nodejs.Start(ctx, "oauth", variables, s, func() bool { return s.URL != "" })
	return s, err
}

// SignIn is a person's browser: it opens the page, signs in as who, allows what is asked for, and returns where it is
// sent in the end, without going there.
func (s *Server) SignIn(ctx context.Context, page *url.URL, who string) (*url.URL, error) {
	return s.browse(ctx, page, func(at *url.URL, prompt string) *http.Request {
		form := url.Values{"prompt": {prompt}}
		if prompt == "login" {
			form.Set("login", who)
			form.Set("password", "any")
		}
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	})
}

// Refuse is SignIn of somebody who allows nothing.
func (s *Server) Refuse(ctx context.Context, page *url.URL) (*url.URL, error) {
	return s.browse(ctx, page, func(at *url.URL, _ string) *http.Request {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, at.String()+"/abort", http.NoBody)
		return r
	})
}

// browse answers the server's pages until it sends the browser elsewhere.
func (s *Server) browse(
	ctx context.Context, page *url.URL, answer func(at *url.URL, prompt string) *http.Request,
) (*url.URL, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	var left *url.URL
	home, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, Transport: s.transport}
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host != home.Host {
			left = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	for range 10 {
		resp, err := browser.Do(r)
		if err != nil {
			return nil, err
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if left != nil {
			return left, nil
		}
		prompt := ""
		for _, p := range []string{"login", "consent"} {
			if bytes.Contains(body, []byte(`name="prompt" value="`+p+`"`)) {
				prompt = p
			}
		}
		if prompt == "" {
			return nil, fmt.Errorf("%s shows %d: %s", resp.Request.URL, resp.StatusCode, body)
		}
		r = answer(resp.Request.URL, prompt)
	}
	return nil, errors.New("the pages have no end")
}
