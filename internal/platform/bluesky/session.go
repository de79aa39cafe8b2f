// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// session is the answer of createSession and refreshSession. Both tokens are opaque to us, and only hints are read of
// them (claims).
type session struct {
	AccessJWT  string `json:"accessJwt"`
	RefreshJWT string `json:"refreshJwt"`
	DID        string `json:"did"`
	Handle     string `json:"handle"`
	Active     *bool  `json:"active"` // nil: yes
	Status     string `json:"status"` // why not
}

// Begin asks for an app password, or, if that is wanted and it is known of whom, sends to the account's authorization
// server. Nothing is kept for Complete in the first case: the caller comes with all that it needs.
func (s *service) Begin(ctx context.Context, in platform.ConnectionRequest) (platform.Begun, error) {
	if in.Method == platform.ByOAuth {
		if strings.TrimSpace(in.Credentials[platform.FieldIdentifier]) == "" {
			return platform.Begun{}, invalid(platform.FieldIdentifier, "The identifier is missing: it tells which server "+
				"the browser goes to. Send the account's handle, such as alice.bsky.social, or its DID.")
		}
		return s.beginOAuth(ctx, in)
	}
	return platform.Begun{
		State: platform.ConnectionStable,
		Descriptor: platform.Descriptor{
			Kind: platform.ByCredentials,
			HelpText: "Make an app password in Bluesky's settings, under Privacy and security, for this server alone. " +
				"Deleting it there takes the access away again.",
			Fields: Platform.Fields,
		},
	}, nil
}

// Complete begins a session, and sees that the server that gave it is the account's own; or it takes what a browser
// has brought back from there. The password goes to the server that the person has named, or else to the one that
// their account's document names. Who the account is, the server says, and not the person.
func (s *service) Complete(ctx context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	if in.Callback != nil {
		return s.completeOAuth(ctx, in)
	}
	who, host, f := s.whoAndWhere(ctx, in.Credentials)
	if f != nil {
		return platform.Connection{}, f
	}
	password := strings.TrimSpace(in.Credentials[platform.SecretAppPassword])
	if password == "" {
		return platform.Connection{}, invalid(platform.SecretAppPassword, "The app password is missing.")
	}
	begun, err := s.login(ctx, host, who.text(), password)
	if err != nil {
		return platform.Connection{}, s.notConnected(err)
	}
	if f := inactive(begun); f != nil {
		return platform.Connection{}, f
	}
	pds, name, f := s.ownServer(ctx, host, begun)
	if f != nil {
		return platform.Connection{}, f
	}
	c := platform.Connection{
		PlatformAccountID: begun.DID,
		DisplayName:       name,
		Secrets:           secretsOf(begun, password, pds),
		RefreshAt:         s.refreshAt(begun),
	}
	if isMainPassword(begun, password) {
		c.Warnings = []platform.Warning{{
			Code: WarningMainPassword,
			Message: "This looks like the account's own password. An app password, made in Bluesky's settings, " +
				"opens less and can be deleted there without changing anything else.",
		}}
	}
	return c, nil
}

// WarningMainPassword is the code of the warning that an account's own password was given. Clients branch on it.
const WarningMainPassword = "bluesky.main_password"

// whoAndWhere reads an identifier and a server's address. Without that, the server is found by the identifier, which is
// the account's DID from then on: a handle may move to another account meanwhile.
func (s *service) whoAndWhere(
	ctx context.Context, given map[string]string,
) (who identifier, host string, f *platform.Failure) {
	if strings.TrimSpace(given[platform.FieldIdentifier]) == "" {
		return who, "", invalid(platform.FieldIdentifier, "The identifier is missing.")
	}
	who, err := parseIdentifier(given[platform.FieldIdentifier])
	if err != nil {
		return who, "", invalid(platform.FieldIdentifier,
			"The identifier is neither a handle, such as alice.bsky.social, nor a DID.")
	}
	// Nothing is looked up then: the address is given where the handle does not lead there from here. Whether the account
	// is on that server is seen afterwards, by its document (ownServer, whose).
	if text := given[FieldPDSURL]; strings.TrimSpace(text) != "" {
		if host, err = checkHost(text, s.guard); err != nil {
			return who, "", invalid(FieldPDSURL, "The address of the PDS can't be used: "+err.Error()+".")
		}
		return who, host, nil
	}
	if who.email != "" {
		return who, defaultPDS, nil
	}
	did, err := s.didOf(ctx, who)
	if err == nil {
		who = identifier{did: did}
		host, _, err = s.pdsOf(ctx, did)
	}
	if err != nil {
		return who, "", notFound(err)
	}
	return who, host, nil
}

// login begins a session. The reference server lets one address do so for an account 30 times in five minutes and 300
// times a day, so sessions are refreshed, and none is begun for a post.
func (s *service) login(ctx context.Context, host, who, password string) (session, error) {
	var begun session
	err := s.do(ctx, call{
		host: host, method: createSession, in: map[string]string{"identifier": who, "password": password},
	}, &begun)
	if err == nil && (begun.AccessJWT == "" || begun.RefreshJWT == "") {
		err = &serverError{cause: fmt.Errorf("the answer to %s holds no session", createSession)}
	}
	return begun, err
}

// ownServer finds the server of the account that a session is for, by the account's own document, and returns it with
// the account's name. Without this, whoever runs a server could have it say that it is anybody's. bsky.social is in
// front of servers with names of their own: they take its sessions. host is the server that gave the session.
func (s *service) ownServer(ctx context.Context, host string, begun session) (pds, name string, f *platform.Failure) {
	did, err := syntax.ParseDID(begun.DID)
	if err != nil {
		return "", "", foreign()
	}
	pds, doc, err := s.pdsOf(ctx, did)
	if err != nil {
		return "", "", notFound(err)
	}
	// A token that the account's own server takes proves that whoever gave it speaks for that server.
	if pds != host {
		var at session
		err := s.do(ctx, call{host: pds, method: getSession, token: begun.AccessJWT, isRead: true}, &at)
		// Only a server that has looked at the token can disown it. One that is away, or has had enough, says nothing of who
		// gave the session, and whoever connects an account is told to come back.
		if err != nil && judge(err) != strange && judge(err) != saysNo {
			return "", "", s.notConnected(err)
		}
		if err != nil || at.DID != begun.DID {
			return "", "", foreign()
		}
	}
	if slices.Contains(doc.AlsoKnownAs, "at://"+begun.Handle) {
		return pds, begun.Handle, nil
	}
	return pds, begun.DID, nil // a handle that its owner's document does not know is nobody's name
}

// secretsOf keeps the app password beside the session that it began: once that has ended, another one is begun by it.
func secretsOf(begun session, password, host string) platform.Secrets {
	return platform.Secrets{
		platform.SecretAppPassword:  password,
		platform.SecretAccessToken:  begun.AccessJWT,
		platform.SecretRefreshToken: begun.RefreshJWT,
		FieldPDSURL:                 host,
	}
}

// claims are what is read of a token, where it can be. Nothing but hints comes from them: to whom it was given, a token
// is opaque.
func claims(token string) (scope string, issued, expires int64) {
	var c struct {
		Scope string `json:"scope"`
		Iat   int64  `json:"iat"`
		Exp   int64  `json:"exp"`
	}
	if parts := strings.Split(token, "."); len(parts) == 3 {
		if text, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(text, &c)
		}
	}
	return c.Scope, c.Iat, c.Exp
}

// usualLife is that of the reference server's access tokens. It is also the longest that a hint is believed.
const usualLife = 2 * time.Hour

// refreshAt is when three quarters of an access token's life are over. Its own clock is not asked, only how long it is
// to live.
func (s *service) refreshAt(begun session) time.Time {
	life := usualLife
	if _, issued, expires := claims(begun.AccessJWT); issued > 0 {
		if d := time.Duration(expires-issued) * time.Second; d >= time.Minute && d < usualLife {
			life = d
		}
	}
	return s.clock.Now().Add(life * 3 / 4)
}

// isMainPassword tells an account's own password by what its token may do, or, where that does not show, by its form.
// It may be wrong: it warns, and refuses nothing. An app password has four groups of four characters.
func isMainPassword(begun session, password string) bool {
	switch scope, _, _ := claims(begun.AccessJWT); scope {
	case "com.atproto.access":
		return true
	case "com.atproto.appPass", "com.atproto.appPassPrivileged":
		return false
	}
	parts := strings.Split(password, "-")
	return len(parts) != 4 || slices.ContainsFunc(parts, func(p string) bool { return len(p) != 4 })
}

// Refresh renews a session. If it has ended, a new one is begun by the app password; if the account has moved to
// another server, there. So no refresh that goes wrong loses the account, unlike that of a grant (refreshGrant).
func (s *service) Refresh(
	ctx context.Context, of platform.Account, with platform.Secrets,
) (platform.Refreshed, error) {
	if isGrant(with) {
		return s.refreshGrant(ctx, of, with)
	}
	host, password := with[FieldPDSURL], with[platform.SecretAppPassword]
	var next session
	err := s.do(ctx, call{host: host, method: refreshSession, token: with[platform.SecretRefreshToken]}, &next)
	if err == nil && (next.DID == "" || next.AccessJWT == "" || next.RefreshJWT == "") {
		err = noAnswer(refreshSession)
	}
	// Not after a 429: a login counts by a limit of its own, which is stricter: 300 a day.
	if v := judge(err); v == strange || v == saysNo || v == away {
		next, host, err = s.again(ctx, of, host, password, err)
	}
	if err != nil {
		return platform.Refreshed{}, s.notRefreshed(err)
	}
	if next.DID != of.PlatformAccountID {
		return platform.Refreshed{}, foreign()
	}
	if f := inactive(next); f != nil {
		return platform.Refreshed{}, f
	}
	return platform.Refreshed{Secrets: secretsOf(next, password, host), RefreshAt: s.refreshAt(next)}, nil
}

// Revoke ends the session, and a grant altogether. The app password stays good: only its owner can delete it.
// deleteSession wants the refresh token, and so does refreshSession: an access token does not end a session.
func (s *service) Revoke(ctx context.Context, _ platform.Account, with platform.Secrets) error {
	if isGrant(with) {
		return s.revokeGrant(ctx, with)
	}
	return s.do(ctx, call{
		host: with[FieldPDSURL], method: deleteSession, token: with[platform.SecretRefreshToken],
	}, nil)
}

// again begins a session where the account is now. before is why the one that there was could not be renewed: a server
// that did not answer is only given up for another. The password goes there by the account's own document alone. What
// it returns is kept as the account's server from then on.
func (s *service) again(
	ctx context.Context, of platform.Account, host, password string, before error,
) (session, string, error) {
	did, err := syntax.ParseDID(of.PlatformAccountID)
	if err != nil {
		return session{}, host, before
	}
	// Where the account is can't be found out: then it is taken to be where it was.
	if now, _, err := s.pdsOf(ctx, did); err == nil && now != host {
		host = now
	} else if judge(before) == away {
		return session{}, host, before
	}
	if password == "" {
		return session{}, host, before
	}
	next, err := s.login(ctx, host, of.PlatformAccountID, password)
	return next, host, err
}

// guardRefused tells of an address that was not asked.
func guardRefused(err error) bool { return outbound.IsRefused(err) }
