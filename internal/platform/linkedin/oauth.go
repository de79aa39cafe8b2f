// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// scopeWrite is the one to post by; the others are for who it is. Another one is not just added: once a member has
// consented to other scopes than before, LinkedIn takes the tokens that this app has of them no more, wherever in use.
const scopeWrite = "w_member_social"

var scopes = []string{"openid", "profile", scopeWrite}

// resume is what Complete needs of Begin. Without PKCE there is none: the state in the callback is checked by whoever
// takes it.
type resume struct {
	Verifier string `json:"verifier"`
}

// Begin sends the browser to LinkedIn. Nobody is asked: the address is made here, so that LinkedIn may be away.
func (s *service) Begin(_ context.Context, in platform.ConnectionRequest) (platform.Begun, error) {
	if in.CallbackURL == nil || in.State == "" {
		return platform.Begun{}, &platform.Failure{
			Code: platform.CodeNotEnabled, Rule: ruleNoAddress,
			Message:     "LinkedIn can't be connected: this server does not know the address that browsers reach it by.",
			Remediation: "Tell whoever runs the server: it needs --public-url.",
		}
	}
	begun := platform.Begun{
		State: platform.ConnectionStable,
		Descriptor: platform.Descriptor{
			Kind:     platform.ByOAuth,
			HelpText: "Sign in at LinkedIn, and allow this server to post for you.",
		},
	}
	var options []oauth2.AuthCodeOption
	if s.PKCE {
		verifier := oauth2.GenerateVerifier()
		options = append(options, oauth2.S256ChallengeOption(verifier))
		begun.Resume, _ = json.Marshal(resume{verifier}) // a text can be encoded
	}
	at, err := url.Parse(s.at(in.CallbackURL.String()).AuthCodeURL(in.State, options...))
	if err != nil {
		return platform.Begun{}, fmt.Errorf("make the address of LinkedIn's page: %w", err)
	}
	begun.AuthorizationURL = at
	return begun, nil
}

// at is the client of one callback. The server compares it to the letter with what is registered.
func (s *service) at(callback string) *oauth2.Config {
	// A copy: several people connect at the same time, and the address of the callback is not part of the configuration.
	o := s.oauth
	o.RedirectURL = callback
	return &o
}

// Complete trades the code that the browser brought for tokens, and asks who they are for. A code is good once, so
// what fails after it was shown is for the person to begin again.
func (s *service) Complete(ctx context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	if in.Callback == nil || in.CallbackURL == nil {
		return platform.Connection{}, &platform.Failure{
			Code: platform.CodeInvalid, Message: "LinkedIn is connected in a browser, and takes no credentials.",
			Remediation: "Begin the connection, and send the person's browser to the address in the answer.",
		}
	}
	if in.Callback.Get("error") != "" {
		return platform.Connection{}, refusedConsent(in.Callback)
	}
	code := in.Callback.Get("code")
	if code == "" {
		return platform.Connection{}, &platform.Failure{
			Code: platform.CodeInvalid, Rule: ruleCode, Message: "The browser came back from LinkedIn without a code.",
			Remediation: beginAgain,
		}
	}
	var options []oauth2.AuthCodeOption
	if s.PKCE {
		var r resume
		if err := json.Unmarshal(in.Resume, &r); err != nil {
			return platform.Connection{}, fmt.Errorf("what Begin left is not what it was: %w", err)
		}
		options = append(options, oauth2.VerifierOption(r.Verifier))
	}
	token, err := s.at(in.CallbackURL.String()).Exchange(s.by(ctx), code, options...)
	if err != nil {
		return platform.Connection{}, s.notConnected(err)
	}
	if f := lacksScope(token); f != nil {
		return platform.Connection{}, f
	}
	return s.whose(ctx, token)
}

// by has oauth2 use a client that is bounded: in time, and in what it reads. The client of package oauth2's own
// choice would be the process's default one, which reaches anything.
func (s *service) by(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, s.tokens)
}

// lacksScope: a person can't take a scope away at LinkedIn, but an app can lack the product that has it. Nil: it
// lacks nothing.
func lacksScope(t *oauth2.Token) *platform.Failure {
	granted, _ := t.Extra("scope").(string)
	// LinkedIn separates them by commas, and others by spaces. A server that has granted what was asked for need not say
	// anything (RFC 6749, section 5.1).
	list := strings.FieldsFunc(granted, func(r rune) bool { return r == ',' || r == ' ' })
	if granted == "" || slices.Contains(list, scopeWrite) {
		return nil
	}
	return &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: ruleScope,
		Message:     "LinkedIn has not granted " + scopeWrite + ", without which nothing can be posted.",
		Remediation: `Tell whoever runs the server: its app at LinkedIn needs the product "Share on LinkedIn".`,
	}
}

// subject is what may stand in a member's URN. It becomes part of every post and of what the account is known by, so
// nothing else is let in.
var subject = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// whose makes a connection of the member that a token is of. The name is shown to people, and may be anything: it is
// cut to what fits.
func (s *service) whose(ctx context.Context, t *oauth2.Token) (platform.Connection, error) {
	// LinkedIn is asked. Its ID token would say it too, but holds no nonce, by which one for this sign-in could be told.
	var who struct{ Sub, Name string }
	if _, err := s.do(ctx, call{path: "/v2/userinfo", token: t.AccessToken}, &who); err != nil {
		return platform.Connection{}, s.notConnected(err)
	}
	if !subject.MatchString(who.Sub) {
		return platform.Connection{}, unavailable(&serverError{sent: true})
	}
	secrets, ends, refreshAt := s.kept(t, nil)
	c := platform.Connection{
		PlatformAccountID: "urn:li:person:" + who.Sub,
		DisplayName:       short(who.Name),
		TokenExpiresAt:    ends,
		RefreshAt:         refreshAt,
		Secrets:           secrets,
	}
	s.watchSunset()
	return c, nil
}

// How long tokens are good for, where LinkedIn does not say it: it has said so of old.
const (
	accessLife  = 60 * 24 * time.Hour
	refreshLife = 365 * 24 * time.Hour
)

// kept is what is stored of tokens. Without a refresh token only the person can renew the connection, by its end. With
// one, that is so when the refresh token ends, whose day does not move by refreshing; old has it.
func (s *service) kept(t *oauth2.Token, old platform.Secrets) (
	secrets platform.Secrets, ends, refreshAt time.Time,
) {
	now := s.Clock.Now()
	life := seconds(t.ExpiresIn, accessLife)
	secrets = platform.Secrets{platform.SecretAccessToken: t.AccessToken}
	refresh := t.RefreshToken
	// None in the answer means that the one before goes on (RFC 6749, section 6).
	if refresh == "" {
		refresh = old[platform.SecretRefreshToken]
	}
	if refresh == "" {
		return secrets, now.Add(life), time.Time{}
	}
	left, _ := t.Extra("refresh_token_expires_in").(float64)
	ends = now.Add(seconds(int64(left), refreshLife))
	// The earlier one counts: where the answer does not say how long is left, a whole year from now would be too late.
	if before, err := time.Parse(time.RFC3339, old[secretRefreshEnds]); err == nil && before.Before(ends) {
		ends = before
	}
	// As it is written into the secrets. With the fraction, the day in the account would move at the first refresh, which
	// reads it from there.
	ends = ends.UTC().Truncate(time.Second)
	secrets[platform.SecretRefreshToken], secrets[secretRefreshEnds] = refresh, ends.Format(time.RFC3339)
	if refreshAt = now.Add(life - life/6); !refreshAt.Before(ends) { // of 60 days the last ten are for what goes wrong
		refreshAt = time.Time{} // the last token outlives what could renew it
	}
	return secrets, ends, refreshAt
}

// seconds is a lifetime that a server has given, if it makes sense. That is up to ten years; beyond, a number is a
// mistake, and would keep an account from being renewed.
func seconds(n int64, otherwise time.Duration) time.Duration {
	if n <= 0 || n > int64(10*refreshLife/time.Second) {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

// Refresh gets a new access token, where the app is one of those that LinkedIn gives refresh tokens. An account of an
// app without refresh tokens comes here only by a mistake, for nothing is due then (kept).
func (s *service) Refresh(
	ctx context.Context, _ platform.Account, with platform.Secrets,
) (platform.Refreshed, error) {
	if with[platform.SecretRefreshToken] == "" {
		return platform.Refreshed{}, lost(nil)
	}
	source := s.oauth.TokenSource(s.by(ctx), &oauth2.Token{RefreshToken: with[platform.SecretRefreshToken]})
	t, err := source.Token() // asks once: the token that it was given is none
	if err != nil {
		return platform.Refreshed{}, s.notRefreshed(err)
	}
	secrets, ends, refreshAt := s.kept(t, with)
	return platform.Refreshed{Secrets: secrets, ExpiresAt: ends, RefreshAt: refreshAt}, nil
}

// refusedBy is what the authorization server has said by RFC 6749, section 5.2; nil: it has not answered so. A 429 and
// a 5xx may have that form, too, but are about the server: taken for that, they would lose accounts.
func refusedBy(err error) *oauth2.RetrieveError {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) && r.ErrorCode != "" && r.Response.StatusCode < http.StatusInternalServerError &&
		r.Response.StatusCode != http.StatusTooManyRequests {
		return r
	}
	return nil
}
