// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Tokens are what a provider has given for somebody.
type Tokens struct {
	ID      string // an ID token
	Refresh string // by which another one can be had; "": there is none
	Subject string // whom the provider knows by that
}

// exchange has the provider give tokens for a code. A code is good once, so that nothing of this is tried again. The
// error is ErrAnswer or ErrUnavailable.
func (p *Provider) exchange(ctx context.Context, d *described, code string, b *begun) (Tokens, error) {
	ctx, client, err := p.as(ctx, d)
	if err != nil {
		return Tokens{}, err
	}
	given, err := client.Exchange(ctx, code, oauth2.VerifierOption(b.made("verifier")))
	switch err = told(err); {
	case errors.Is(err, ErrRefused): // a code of somebody else's sign-in, or one that was used
		return Tokens{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	case err != nil:
		return Tokens{}, err
	}
	// The nonce ties the ID token to this browser's sign-in: one that was made for another is not taken, however it came
	// here.
	t, nonce, err := p.verified(ctx, d, given)
	if err == nil && !same([]string{nonce}, b.made("nonce")) {
		err = fmt.Errorf("%w: its nonce is another one's", ErrAnswer)
	}
	if err != nil {
		// Nobody keeps what has come with it, and it is good at the provider until that ends it. It may be away by now, and
		// what there is to say to the person is the first error.
		_ = p.Revoke(ctx, given.RefreshToken)
		return Tokens{}, err
	}
	return t, nil
}

// Renew has the provider give another ID token by a refresh token, which may be good no more afterwards, whatever comes
// of it. The error is ErrRefused, ErrUnavailable, or ErrAnswer if it is not about the same person any more. With no
// error and no ID token, the provider renews access, and not who somebody is. Then, and with ErrAnswer, there is still
// the refresh token, to be revoked.
func (p *Provider) Renew(ctx context.Context, refresh, subject string) (Tokens, error) {
	d, err := p.describe(ctx)
	if err != nil {
		return Tokens{}, err
	}
	ctx, client, err := p.as(ctx, d)
	if err != nil {
		return Tokens{}, err
	}
	given, err := client.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	if err := told(err); err != nil {
		return Tokens{}, err
	}
	if text, _ := given.Extra("id_token").(string); text == "" { // OpenID Connect Core, section 12.2: it may do so
		return Tokens{Refresh: given.RefreshToken}, nil
	}
	// A renewed ID token should have no nonce (OpenID Connect Core, section 12.2). That it is about the same person
	// counts.
	t, _, err := p.verified(ctx, d, given)
	if err == nil && !same([]string{t.Subject}, subject) {
		err = fmt.Errorf("%w: it is about somebody else", ErrAnswer)
	}
	switch {
	case errors.Is(err, ErrAnswer):
		return Tokens{Refresh: given.RefreshToken}, err
	case err != nil: // it is tried again
		return Tokens{}, err
	}
	return t, nil
}

// Revoke tells the provider that a refresh token is not needed any more, if it wants to know (RFC 7009). Package
// oauth2 has no such request. The error is ErrUnavailable, and is for a log: nobody can do anything about it. ""
// is no token, and nothing is told.
func (p *Provider) Revoke(ctx context.Context, refresh string) error {
	if refresh == "" {
		return nil
	}
	d, err := p.describe(ctx)
	if err != nil || d.Revocation == "" {
		return err
	}
	ctx, client, err := p.as(ctx, d)
	if err != nil {
		return err
	}
	form := url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}}
	if client.Endpoint.AuthStyle == oauth2.AuthStyleInParams {
		form.Set("client_id", client.ClientID)
		if client.ClientSecret != "" {
			form.Set("client_secret", client.ClientSecret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("%w: its revocation_endpoint is not an address", ErrUnavailable)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if client.Endpoint.AuthStyle == oauth2.AuthStyleInHeader {
		r.SetBasicAuth(url.QueryEscape(client.ClientID), url.QueryEscape(client.ClientSecret)) // RFC 6749, section 2.3.1
	}
	response, err := p.http.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrUnavailable, short(err))
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: it answers a revocation with %s", ErrUnavailable, response.Status)
	}
	return nil
}

// as is this client at the provider, with the secret that it has now. It is a copy: d is everybody's.
func (p *Provider) as(ctx context.Context, d *described) (context.Context, *oauth2.Config, error) {
	client := d.oauth
	if p.c.ClientSecret != nil {
		var err error
		if client.ClientSecret, err = p.c.ClientSecret(); err != nil {
			return nil, nil, fmt.Errorf("%w: the client's secret can't be read: %w", ErrUnavailable, err)
		}
	}
	return goidc.ClientContext(ctx, p.http), &client, nil
}

// told is what the provider says by an error. Its answer is not repeated: nobody knows what is in it.
//
// invalid_grant alone is about the person, and ends a session. All else, such as a client that the provider does not
// take, is for whoever runs this server to mend, and must sign nobody out.
func told(err error) error {
	var said *oauth2.RetrieveError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &said):
		return fmt.Errorf("%w: %s", ErrUnavailable, short(err))
	case said.ErrorCode == "invalid_grant":
		return fmt.Errorf("%w: invalid_grant", ErrRefused)
	case said.ErrorCode == "invalid_client", said.ErrorCode == "unauthorized_client":
		return fmt.Errorf("%w: it does not take the client: %s", ErrUnavailable, said.ErrorCode)
	}
	return fmt.Errorf("%w: it answers a request for tokens with %s", ErrUnavailable, said.Response.Status)
}

// verified checks the ID token among what was given (OpenID Connect Core, section 3.1.3.7), but for the nonce. The
// error is ErrAnswer, or ErrUnavailable if the keys for it can't be had.
func (p *Provider) verified(
	ctx context.Context, d *described, given *oauth2.Token,
) (t Tokens, nonce string, err error) {
	text, _ := given.Extra("id_token").(string)
	if text == "" {
		return t, "", fmt.Errorf("%w: there is no ID token", ErrAnswer)
	}
	token, err := d.verifier.Verify(ctx, text)
	switch {
	case err != nil && strings.Contains(err.Error(), "fetching keys"): // go-oidc has no other sign of it
		return t, "", fmt.Errorf("%w: %s", ErrUnavailable, short(err))
	case err != nil:
		return t, "", fmt.Errorf("%w: %s", ErrAnswer, short(err))
	}
	// go-oidc has checked the signature, the issuer, the audience and the time. The rest it leaves to its callers.
	var party struct {
		Authorized string `json:"azp"`
	}
	if err := token.Claims(&party); err != nil {
		return t, "", fmt.Errorf("%w: its claims can't be read", ErrAnswer)
	}
	switch {
	// An ID token for several audiences has to say which of them it was made for. at_hash may be missing: in the
	// authorization code flow a provider need not send it.
	case party.Authorized != "" && party.Authorized != p.c.ClientID, party.Authorized == "" && len(token.Audience) > 1:
		return t, "", fmt.Errorf("%w: it was made for another client", ErrAnswer)
	case token.Subject == "":
		return t, "", fmt.Errorf("%w: it is about nobody", ErrAnswer)
	case token.AccessTokenHash != "" && token.VerifyAccessToken(given.AccessToken) != nil:
		return t, "", fmt.Errorf("%w: its access token is another one's", ErrAnswer)
	}
	return Tokens{ID: text, Refresh: given.RefreshToken, Subject: token.Subject}, token.Nonce, nil
}
