// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oidc knows one OpenID provider: it sends a browser there, takes in whom it says has come back, and has what
// they were given renewed and revoked. The ID token is what they act with in the cluster, which trusts the provider
// itself: nothing of it is read here but what the protocol asks for.
//
// A sign-in goes from file to file: Begin and Finish (signin.go) are the way there and back, exchange and verified
// (tokens.go) have the tokens and check them, and Renew and Revoke are what package session does with them
// afterwards. This file has what all of them stand on: the client, and what the provider says of itself. Tokens are
// kept by package session: nothing is stored here.
package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

const (
	// askTimeout bounds each request to the provider: somebody is looking at a page that waits for it.
	askTimeout = 10 * time.Second
	// maxAnswer is more than any answer of a provider's that is wanted. In bytes.
	maxAnswer = 1 << 20
	// describedFor is how long the provider's description of itself is gone by. The keys by which ID tokens are signed
	// don't wait for that: the verifier asks for those that it does not know.
	describedFor = time.Hour
)

// Errors of a provider. None of them holds a token, a code or a verifier.
var (
	// ErrUnavailable says that the provider can't be reached, or does not do at the moment what it is for. It says
	// nothing of the person, so that no session ends by it.
	ErrUnavailable = errors.New("the OpenID provider can't be used at the moment")
	// ErrRefused says that the provider does not renew what it had given: it was revoked there, or has expired. The
	// session that stands on it is over.
	ErrRefused = errors.New("the OpenID provider has refused")
	// ErrAnswer says that what has come is no answer to what was asked for. Whoever brings such answers often is
	// guessing.
	ErrAnswer = errors.New("this is no answer of the OpenID provider to this sign-in")
)

// Config is what a Provider is made of. All fields are required except where they say otherwise.
type Config struct {
	// Issuer is the provider's URL, as it says itself: https, because the cluster trusts no other.
	Issuer   string
	ClientID string
	// ClientSecret is read each time, so that another one needs no restart. Optional: nil for a public client.
	ClientSecret func() (string, error)
	// Roots are the authorities that the provider's certificate may be of. Optional: nil for those of the system.
	Roots *x509.CertPool
	// Scopes are asked for; openid among them in any case, and offline_access only of a provider that has it.
	Scopes []string
	// RedirectURL is where browsers come back to.
	RedirectURL string

	Random io.Reader // a CSPRNG
	Clock  clock.PassiveClock
}

// Provider is an OpenID provider. Nothing is asked of it before somebody signs in by it, and what it says of itself is
// asked again when that has failed: it may come up after this process. It is safe for concurrent use.
type Provider struct {
	c    Config
	http *http.Client

	// asking has all who need it anew wait for one request; mu guards last, and is not held meanwhile.
	asking singleflight.Group
	mu     sync.Mutex
	last   *described // nil: never
}

// New returns a Provider. The error says what is missing, or can't be.
func New(c Config) (*Provider, error) {
	if c.ClientID == "" || c.RedirectURL == "" || c.Random == nil || c.Clock == nil {
		return nil, errors.New("oidc: ClientID, RedirectURL, Random and Clock are required")
	}
	if err := CheckIssuer(c.Issuer); err != nil {
		return nil, err
	}
	if !slices.Contains(c.Scopes, goidc.ScopeOpenID) {
		c.Scopes = append([]string{goidc.ScopeOpenID}, c.Scopes...)
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment, // whoever runs this server has chosen the address
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    askTimeout / 2,
		IdleConnTimeout:        time.Minute,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &Provider{c: c, http: &http.Client{
		Transport: bounded{transport}, Timeout: askTimeout,
		// A secret is never sent on to where the provider does not say that it is.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// CheckIssuer says what is wrong with the URL of a provider. An issuer has neither a query nor a fragment (OpenID
// Connect Discovery, section 3).
func CheckIssuer(issuer string) error {
	if u, err := url.Parse(issuer); err != nil || !confidential(u) || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("want the https URL that the provider has for itself (its `issuer`), not %q; "+
			"a Kubernetes apiserver trusts no other", issuer)
	}
	return nil
}

// confidential tells whether a secret may be sent to a URL.
func confidential(u *url.URL) bool { return u.Scheme == "https" && u.Host != "" && u.User == nil }

// Host is what people know the provider by.
func (p *Provider) Host() string {
	u, err := url.Parse(p.c.Issuer)
	if err != nil {
		return p.c.Issuer
	}
	return u.Host
}

// Close closes connections that nobody uses.
func (p *Provider) Close() { p.http.CloseIdleConnections() }

// bounded lets nothing out in clear text, whatever a provider says of where it is, and reads no answer to its end that
// has none.
type bounded struct{ next *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !confidential(r.URL) {
		return nil, errors.New("the provider has an address that is not https")
	}
	response, err := b.next.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	}
	return response, err
}

// CloseIdleConnections is for http.Client's. It would find no such method otherwise, and close nothing.
func (b bounded) CloseIdleConnections() { b.next.CloseIdleConnections() }

// described is what a provider says of itself (OpenID Connect Discovery, section 3). It is not changed once it is
// Provider.last, and so is read without a lock.
type described struct {
	oauth    oauth2.Config
	verifier *goidc.IDTokenVerifier
	at       time.Time // when it has said so

	Revocation   string   `json:"revocation_endpoint"`
	NamesItself  bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	ClientShows  []string `json:"token_endpoint_auth_methods_supported"`
	ScopesServed []string `json:"scopes_supported"`
}

// describe returns what the provider says of itself. If it can't say it anew, what it has said before holds on.
//
// While the provider is away, each call asks it anew, and goes by what it had said after askTimeout at the latest.
func (p *Provider) describe(ctx context.Context) (*described, error) {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	if last != nil && p.c.Clock.Now().Sub(last.at) < describedFor {
		return last, nil
	}
	// Not in the context of whoever happens to be first: others wait for the same answer.
	asked := p.asking.DoChan("", func() (any, error) { return p.ask(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case answer := <-asked:
		if d, ok := answer.Val.(*described); ok && answer.Err == nil {
			return d, nil
		}
		if last != nil {
			return last, nil
		}
		return nil, answer.Err
	}
}

// ask reads the provider's description, and keeps it. go-oidc refuses one that names another issuer than the one that
// it was asked for as. The error is ErrUnavailable.
func (p *Provider) ask(ctx context.Context) (*described, error) {
	provider, err := goidc.NewProvider(goidc.ClientContext(ctx, p.http), p.c.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not say where it is: %s", ErrUnavailable, short(err))
	}
	d := &described{at: p.c.Clock.Now()}
	if err := provider.Claims(d); err != nil {
		return nil, fmt.Errorf("%w: what it says of itself can't be read: %s", ErrUnavailable, short(err))
	}
	// bounded does not see that address: a browser is sent there, and nothing by this process.
	page, err := url.Parse(provider.Endpoint().AuthURL)
	if err != nil || !confidential(page) {
		return nil, fmt.Errorf("%w: its page for signing in is not https", ErrUnavailable)
	}
	d.oauth = oauth2.Config{ClientID: p.c.ClientID, Endpoint: provider.Endpoint(), RedirectURL: p.c.RedirectURL}
	// A provider that does not know offline_access may refuse the request for it, and with it everybody.
	d.oauth.Scopes = slices.DeleteFunc(slices.Clone(p.c.Scopes), func(scope string) bool {
		return scope == goidc.ScopeOfflineAccess && len(d.ScopesServed) > 0 && !slices.Contains(d.ScopesServed, scope)
	})
	d.oauth.Endpoint.AuthStyle = d.style(p.c.ClientSecret == nil)
	d.verifier = provider.Verifier(&goidc.Config{ClientID: p.c.ClientID, Now: p.c.Clock.Now})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = d
	return d, nil
}

// style is how the client shows who it is. It is not left to be found out: that would send a code or a refresh token a
// second time, which the provider takes for a theft.
func (d *described) style(public bool) oauth2.AuthStyle {
	// By Discovery, a provider that does not say takes the header.
	byHeader := len(d.ClientShows) == 0 || slices.Contains(d.ClientShows, "client_secret_basic")
	if public || !byHeader {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// short is an error for a log, without the pages that proxies answer with.
func short(err error) string {
	const most = 300
	return problem.Excerpt(err.Error(), most)
}
