// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"net/url"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/auth/oauth"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// grant is what an account's owner has allowed by OAuth, without the tokens for it, which change. Its end is kept with
// it: refreshing does not move that (sessionLife), and no answer is asked for it.
type grant struct {
	key    dpopKey
	client string // what this server was known as
	issuer string
	pds    string
	ends   time.Time
}

// isGrant tells whether an account was connected by OAuth.
func isGrant(with platform.Secrets) bool { return with[platform.SecretDPoPKey] != "" }

// grantOf reads what secrets has written. The error is a *platform.Failure, and repeats nothing of it.
func grantOf(with platform.Secrets) (g grant, err error) {
	g = grant{client: with[keptClient], issuer: with[keptIssuer], pds: with[FieldPDSURL]}
	if g.key, err = atcrypto.ParsePrivateMultibase(with[platform.SecretDPoPKey]); err == nil {
		g.ends, err = time.Parse(time.RFC3339, with[keptEnd])
	}
	if err != nil { // which may repeat what it is about
		return g, &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleCredentials,
			Message: "What this server has kept of the account can't be read.", Remediation: connectAgain,
		}
	}
	return g, nil
}

// secrets is all that is stored of a grant and its tokens, under names that Platform.Secrets lists. It takes the
// place of whatever opened the account before: an app password is not among it any more.
func (g grant) secrets(t tokens) platform.Secrets {
	key, _ := g.key.(atcrypto.PrivateKeyExportable) // those that are made and parsed here are
	return platform.Secrets{
		platform.SecretAccessToken:  t.AccessToken,
		platform.SecretRefreshToken: t.RefreshToken,
		platform.SecretDPoPKey:      key.Multibase(),
		FieldPDSURL:                 g.pds,
		keptIssuer:                  g.issuer,
		keptClient:                  g.client,
		keptEnd:                     g.ends.UTC().Format(time.RFC3339),
	}
}

// Lives of access tokens. The specification has them end within the hour; what a server says is heeded within reason.
const (
	usualGrantLife = 15 * time.Minute // where a server does not say
	shortGrantLife = time.Minute
	longGrantLife  = time.Hour
)

// refreshGrantAt is when three quarters of an access token's life are over. What is left is for a server that is away
// for a while.
func (s *service) refreshGrantAt(t tokens) time.Time {
	life := usualGrantLife
	if t.ExpiresIn > 0 && t.ExpiresIn < int64(longGrantLife/time.Second) {
		life = max(time.Duration(t.ExpiresIn)*time.Second, shortGrantLife)
	} else if t.ExpiresIn > 0 {
		life = longGrantLife
	}
	return s.clock.Now().Add(life * 3 / 4)
}

// refreshGrant trades the tokens of an account for new ones. A refresh token is good once: whoever shows it again ends
// the session, and so does whoever shows it without a proof. So all that can fail is done before it is sent: where the
// account and its server are, and which nonce a proof is to have now, which a request without a token finds out.
//
// What can't be helped is an answer that gets lost after the server has made it, on the way or because this process
// dies before it has stored it: then nobody has the next token, and the account has to be connected again.
//
// The context of that request outlives the caller's: package connection stores what comes of it, whoever has gone
// away.
func (s *service) refreshGrant(
	ctx context.Context, of platform.Account, with platform.Secrets,
) (platform.Refreshed, error) {
	g, err := grantOf(with)
	if err != nil {
		return platform.Refreshed{}, err
	}
	server, err := s.serverNow(ctx, of, &g)
	if err != nil {
		return platform.Refreshed{}, s.grantNotRefreshed(err)
	}
	// The client is who this server was when it was allowed: tokens are bound to that, whatever its address is now.
	f := form{to: server.TokenEndpoint, key: g.key, values: url.Values{
		"grant_type": {"refresh_token"}, "client_id": {g.client},
	}}
	if f.nonce, err = s.nonceFor(ctx, f); err != nil {
		return platform.Refreshed{}, s.grantNotRefreshed(err)
	}
	f.values.Set("refresh_token", with[platform.SecretRefreshToken])
	// It has its time to itself, however much was used up: to stop waiting for this answer is to lose the account.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
	defer cancel()
	var got tokens
	if _, err = s.post(ctx, f, &got); err == nil {
		err = got.check()
	}
	if err != nil {
		return platform.Refreshed{}, s.grantNotRefreshed(err)
	}
	if got.Subject != of.PlatformAccountID {
		return platform.Refreshed{}, anotherAccount()
	}
	return platform.Refreshed{Secrets: g.secrets(got), RefreshAt: s.refreshGrantAt(got), ExpiresAt: g.ends}, nil
}

// serverNow is the account's authorization server. If the account has moved to another server behind the same one, as
// they do behind bsky.social, the grant goes along; behind another one nobody knows of it. g.pds becomes the new one
// then, and is stored with the new tokens. The error may be a *platform.Failure.
func (s *service) serverNow(ctx context.Context, of platform.Account, g *grant) (*oauth.AuthServerMetadata, error) {
	did, err := syntax.ParseDID(of.PlatformAccountID)
	if err != nil {
		return nil, err
	}
	// Where the account is can't be found out: then it is taken to be where it was.
	if pds, _, err := s.pdsOf(ctx, did); err == nil && pds != g.pds {
		server, err := s.authorizationServer(ctx, pds)
		if err != nil {
			return nil, err
		}
		if server.Issuer != g.issuer {
			return nil, &platform.Failure{
				Code: platform.CodeAuthFailed, Rule: ruleCredentials,
				Message:     "The account has moved to another server, which does not know what was allowed at the old one.",
				Remediation: connectAgain,
			}
		}
		g.pds = pds
		return server, nil
	}
	return s.metadataOf(ctx, g.issuer)
}

// nonceFor finds out which nonce the next proof is to have, by a request that can't succeed. "": none. The refusal is
// what is wanted: the nonce stands in its header. One that was seen before would not do, since servers take it for
// minutes, and refreshes are further apart.
func (s *service) nonceFor(ctx context.Context, f form) (string, error) {
	h, err := s.postOnce(ctx, f, nil)
	if v := judge(err); v == slowDown || v == away && !named(err, useNonce) {
		return "", err // it would not answer the one that counts either
	}
	if nonce := h.Get("DPoP-Nonce"); len(nonce) <= maxNonce {
		return nonce, nil
	}
	return "", nil
}

// revokeGrant gives an account's tokens back. If that fails, they end by themselves, at g.ends.
func (s *service) revokeGrant(ctx context.Context, with platform.Secrets) error {
	g, err := grantOf(with)
	if err != nil {
		return err
	}
	server, err := s.metadataOf(ctx, g.issuer)
	if err != nil {
		return err
	}
	return s.giveBack(ctx, server, g, with[platform.SecretRefreshToken])
}

// giveBack ends the session that a refresh token is of (RFC 7009). An access token is over within the hour, whatever
// becomes of it.
func (s *service) giveBack(ctx context.Context, at *oauth.AuthServerMetadata, g grant, token string) error {
	if at.RevocationEndpoint == "" {
		return notAsSpecified("it takes nothing back")
	}
	f := form{to: at.RevocationEndpoint, key: g.key, values: url.Values{
		"client_id": {g.client}, "token": {token}, "token_type_hint": {"refresh_token"},
	}}
	// No nonce is found out before (nonceFor): that the token may have to be shown twice is no matter, as it is given up.
	_, err := s.post(ctx, f, nil)
	return err
}
