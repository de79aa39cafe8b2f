// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/auth/oauth"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// The profile of OAuth that the AT Protocol has is https://atproto.com/specs/oauth. Of indigo's package for it, what is
// used is the documents, what they must say, and the proofs of RFC 9449. Its flow is not: it makes up a state of its
// own, reaches no server on loopback or another port, forgets when tokens expire, tells refusals apart by nothing but
// their text, writes them to the process' log, and sends a token that is good once without knowing whether the proof
// beside it will do.

// What is kept of an account that was connected by OAuth, beside its tokens and their key.
const (
	keptIssuer = "issuer"   // the authorization server
	keptClient = "clientId" // what this server was known as: tokens are bound to it
	keptEnd    = "sessionEnds"
)

// scopes are all that publishing takes: to write posts (putRecord needs both) and the media in them. They stand in
// the client's metadata as well, since authorization servers refuse more than that. An account that was connected
// with fewer has fewer, until it is connected again.
var scopes = []string{"atproto", "repo:app.bsky.feed.post?action=create&action=update", "blob:*/*"}

// sessionLife is how long an authorization server lets a client go on that has no key of its own, however often it
// refreshes: the most that the specification allows, and what the reference server does. A server that ends it sooner
// says so when tokens are refreshed; with one that would go on longer, the person connects the account again all the
// same.
const sessionLife = 14 * 24 * time.Hour

// clientOf is how this server shows itself to authorization servers. They know it by the address of its metadata, or,
// while it is at home on the person's own machine, by an address that says all there is to say.
func clientOf(callback *url.URL) (oauth.ClientConfig, error) {
	notEnabled := func(why string) error {
		return &platform.Failure{
			Code: platform.CodeNotEnabled, Rule: ruleOAuth, Message: "This server can't connect accounts by OAuth: " + why,
			Remediation: "Connect the account by an app password. Whoever runs this server can set its public URL, which " +
				"must begin with https and have a host that is a name.",
		}
	}
	switch {
	case callback == nil:
		return oauth.ClientConfig{}, notEnabled("it does not know its own address.")
	case callback.Scheme == "http" && outbound.IsLoopback(callback.Hostname()):
		return oauth.NewLocalhostConfig(byAddress(*callback).String(), scopes), nil
	case callback.Scheme != "https" || isAddress(callback.Hostname()):
		return oauth.ClientConfig{}, notEnabled("others do not know it by its own address.")
	}
	return oauth.NewPublicConfig(
		callback.JoinPath("..", platform.ClientMetadataName).String(), callback.String(), scopes), nil
}

// byAddress is a URL on loopback by its address: the specification does not let a browser come back to a name, neither
// to localhost nor to one below it. RFC 8252, section 8.3, advises against it, too: what a name leads to is for the
// machine to say.
func byAddress(u url.URL) *url.URL {
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return &u
	}
	port := u.Port()
	if u.Host = "127.0.0.1"; port != "" {
		u.Host = net.JoinHostPort(u.Host, port)
	}
	return &u
}

// clientMetadata is what authorization servers fetch. Each server does so by itself and keeps it for a while, so it
// has to be the same at every replica: it is made of the callback's address, and of nothing else.
func clientMetadata(callback *url.URL) (json.RawMessage, error) {
	client, err := clientOf(callback)
	if err != nil {
		return nil, err
	}
	m := client.ClientMetadata()
	name, home := "letmepost", callback.Scheme+"://"+callback.Host+"/"
	m.ClientName, m.ClientURI = &name, &home
	text, err := json.Marshal(m)
	if err != nil { // of strings
		return nil, &platform.Failure{Code: platform.CodeInternalError, Message: "The metadata could not be written."}
	}
	return text, nil
}

// consent is an authorization that a person was sent to give. It is sealed until they come back. A process of another
// release may read it: if it misses something there, the person has to begin again.
type consent struct {
	Issuer      string `json:"issuer"`
	ClientID    string `json:"clientId"`
	RedirectURI string `json:"redirectUri"`
	Verifier    string `json:"verifier"` // of PKCE
	Key         string `json:"key"`      // of the proofs
	Nonce       string `json:"nonce"`    // for the next proof
	DID         string `json:"did"`
	PDS         string `json:"pds"`
	Name        string `json:"name"`
}

// beginOAuth finds the authorization server of an account and tells it what a browser will come to ask for. The
// account's key is made here, and binds the authorization from its first request on.
func (s *service) beginOAuth(ctx context.Context, in platform.ConnectionRequest) (platform.Begun, error) {
	client, err := clientOf(in.CallbackURL)
	if err != nil {
		return platform.Begun{}, err
	}
	// The address as the client has it, which on loopback is not as the caller wrote it (byAddress): the request for
	// tokens has to repeat it to the letter (RFC 6749, section 4.1.3).
	c := consent{ClientID: client.ClientID, RedirectURI: client.CallbackURL}
	if f := s.whose(ctx, in.Credentials, &c); f != nil {
		return platform.Begun{}, f
	}
	server, err := s.authorizationServer(ctx, c.PDS)
	if err != nil {
		return platform.Begun{}, s.notAuthorized(err)
	}
	key, err := atcrypto.GeneratePrivateKeyP256()
	// In Base64 these are 43 characters, the fewest that a verifier may have (RFC 7636, section 4.1).
	secret := make([]byte, 32)
	if err == nil {
		_, err = io.ReadFull(s.random, secret)
	}
	if err != nil {
		return platform.Begun{}, &platform.Failure{Code: platform.CodeInternalError, Message: "No key could be made."}
	}
	c.Issuer, c.Key, c.Verifier = server.Issuer, key.Multibase(), base64.RawURLEncoding.EncodeToString(secret)
	var pushed oauth.PushedAuthResponse
	c.Nonce, err = s.post(ctx, form{to: server.PushedAuthorizationRequestEndpoint, key: key, values: url.Values{
		"client_id": {c.ClientID}, "redirect_uri": {c.RedirectURI}, "scope": {strings.Join(scopes, " ")},
		"response_type": {"code"}, "state": {in.State}, "login_hint": {c.Name},
		"code_challenge": {oauth.S256CodeChallenge(c.Verifier)}, "code_challenge_method": {"S256"},
	}}, &pushed)
	if err == nil && pushed.RequestURI == "" {
		err = noAnswer("a pushed authorization request")
	}
	if err != nil {
		return platform.Begun{}, s.notAuthorized(err)
	}
	return c.begun(server, pushed.RequestURI)
}

// begun sends the browser there with no more than a reference to what was pushed (RFC 9126, section 4): whoever holds
// the browser can neither read nor change what is asked for.
func (c consent) begun(server *oauth.AuthServerMetadata, request string) (platform.Begun, error) {
	to, err := url.Parse(server.AuthorizationEndpoint)
	if err != nil { // which it did before
		return platform.Begun{}, notAsSpecified(err.Error())
	}
	to.RawQuery = url.Values{"client_id": {c.ClientID}, "request_uri": {request}}.Encode()
	resume, err := json.Marshal(c)
	return platform.Begun{
		State: platform.ConnectionStable, AuthorizationURL: to, Resume: resume,
		Descriptor: platform.Descriptor{
			Kind:     platform.ByOAuth,
			HelpText: "Sign in at the account's own server, and allow this one to write posts there.",
		},
	}, err
}

// whose finds out whose authorization is wanted, and where it is to be had: by the account's own document, whoever
// names another place. It fills in DID, PDS and Name of c.
func (s *service) whose(ctx context.Context, given map[string]string, c *consent) *platform.Failure {
	who, host, f := s.whoAndWhere(ctx, given)
	if f != nil {
		return f
	}
	if who.email != "" {
		return invalid(platform.FieldIdentifier, "An e-mail address says nothing of an account's server. "+
			"Give the handle, such as alice.bsky.social, or the DID.")
	}
	if who.did == "" { // the server was given, and knows
		var found struct{ DID syntax.DID }
		err := s.do(ctx, call{
			host: host, method: resolveHandle, isRead: true, query: url.Values{"handle": {who.handle.String()}},
		}, &found)
		if judge(err) == saysNo {
			err = errNobody
		}
		if err != nil {
			return notFound(err)
		}
		who.did = found.DID
	}
	pds, doc, err := s.pdsOf(ctx, who.did)
	if err != nil {
		return notFound(err)
	}
	c.DID, c.PDS, c.Name = who.did.String(), pds, who.did.String()
	var there struct{ Handle string }
	// It may fail: the account is known by its DID, and only shown by another name.
	_ = s.do(ctx, call{host: pds, method: describeRepo, isRead: true, query: url.Values{"repo": {c.DID}}}, &there)
	if slices.Contains(doc.AlsoKnownAs, "at://"+there.Handle) {
		c.Name = there.Handle // which its owner's document knows: any other is nobody's name
	}
	return nil
}

// completeOAuth trades what a browser came back with for tokens. That it is the account's own authorization server is
// known since it began (whose). So the subject that comes with the tokens is no stranger's word, and must be the
// account that was named.
func (s *service) completeOAuth(ctx context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	var c consent
	err := json.Unmarshal(in.Resume, &c)
	key, badKey := atcrypto.ParsePrivateMultibase(c.Key)
	if err != nil || badKey != nil {
		return platform.Connection{}, begunAgain("What this server has kept of the connection can't be read.")
	}
	if f := c.check(in.Callback); f != nil {
		return platform.Connection{}, f
	}
	server, err := s.metadataOf(ctx, c.Issuer)
	if err != nil {
		return platform.Connection{}, s.notAuthorized(err)
	}
	var got tokens
	_, err = s.post(ctx, form{to: server.TokenEndpoint, key: key, nonce: c.Nonce, values: url.Values{
		"grant_type": {"authorization_code"}, "code": {in.Callback.Get("code")}, "redirect_uri": {c.RedirectURI},
		"client_id": {c.ClientID}, "code_verifier": {c.Verifier},
	}}, &got)
	if err == nil {
		err = got.check()
	}
	if err != nil {
		return platform.Connection{}, s.notAuthorized(err)
	}
	o := grant{key: key, client: c.ClientID, pds: c.PDS, issuer: c.Issuer, ends: s.clock.Now().Add(sessionLife)}
	// What another account has allowed is given back: it is good for two weeks, and nobody here keeps it.
	if got.Subject != c.DID {
		if err := s.giveBack(ctx, server, o, got.RefreshToken); err != nil {
			s.logger.Warn("what was allowed for another account could not be given back", "error", err)
		}
		return platform.Connection{}, anotherAccount()
	}
	return platform.Connection{
		PlatformAccountID: c.DID, DisplayName: c.Name,
		Secrets: o.secrets(got), RefreshAt: s.refreshGrantAt(got), TokenExpiresAt: o.ends,
	}, nil
}

// check reads what an authorization server has sent a browser back with. That it names itself is checked before
// anything else: another one, which the person has to do with as well, could have sent it (RFC 9207). An error
// without a name is taken all the same, since nothing is done by it; with a code it has to be there.
func (c consent) check(callback url.Values) *platform.Failure {
	code := callback.Get("error")
	if by := callback.Get("iss"); by != c.Issuer && (by != "" || code == "") {
		return begunAgain("The answer is not that of the account's authorization server.")
	}
	switch {
	case code == "access_denied":
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleDenied, Message: "The access was not allowed.",
			Remediation: "Connect the account again, and allow it. Nothing was changed.",
		}
	case code != "":
		f := begunAgain("The account's authorization server has ended the connection.")
		f.PlatformResponse = saidByServer(code, callback.Get("error_description"))
		return f
	case callback.Get("code") == "":
		return begunAgain("The answer of the account's authorization server has no code in it.")
	}
	return nil
}

// tokens are the answer of a token endpoint (RFC 6749, section 5.1). Lifetime and type are read by hand: indigo's has
// neither.
type tokens struct {
	oauth.TokenResponse
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"` // seconds
}

// check holds an answer against what was asked for. A token that is not bound to the key would be worth something to
// whoever finds it. Without a refresh token the account would be lost within the hour.
func (t tokens) check() error {
	switch {
	case t.AccessToken == "" || t.RefreshToken == "":
		return noAnswer("a request for tokens")
	case !strings.EqualFold(t.Type, "DPoP"):
		return notAsSpecified("the token is not bound to a key")
	case !slices.Contains(strings.Fields(t.Scope), scopes[0]):
		return notAsSpecified("the token is not for an account of the AT Protocol")
	}
	return nil
}

// noAnswer is an answer that lacks what it is for.
func noAnswer(to string) error {
	return &serverError{sent: true, cause: fmt.Errorf("the answer to %s is empty", to)}
}
