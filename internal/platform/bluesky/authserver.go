// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/auth/oauth"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Where a server says who gives tokens for it (RFC 9728), and where that one says how (RFC 8414).
const (
	resourcePath = "/.well-known/oauth-protected-resource"
	serverPath   = "/.well-known/oauth-authorization-server"
)

// errNotJSON says no more, since the answer may hold tokens.
var errNotJSON = errors.New("the answer is not the JSON that it should be")

// errServer says that an authorization server can't be used. Its text is for whoever connects an account.
type errServer string

func (e errServer) Error() string { return string(e) }

// notAsSpecified is an errServer. how goes on after "can't be used:", without a full stop.
func notAsSpecified(how string) error { return errServer(how) }

// authorizationServer finds the one of an account's server. pds is an address that checkHost has taken. The server
// that it names is anybody's choice, and is checked as one.
func (s *service) authorizationServer(ctx context.Context, pds string) (*oauth.AuthServerMetadata, error) {
	var resource oauth.ProtectedResourceMetadata
	if err := s.fetch(ctx, pds+resourcePath, &resource); err != nil {
		return nil, err
	}
	if len(resource.AuthorizationServers) != 1 { // the specification has exactly one
		return nil, notAsSpecified("the account's server does not name one authorization server")
	}
	return s.metadataOf(ctx, resource.AuthorizationServers[0])
}

// metadataOf asks an authorization server what it can do, and where. Each address in the answer is somebody else's
// choice, so it goes through the guard; a token goes to none that is not encrypted.
func (s *service) metadataOf(ctx context.Context, issuer string) (*oauth.AuthServerMetadata, error) {
	origin, err := checkHost(issuer, s.guard)
	if err != nil {
		return nil, notAsSpecified("its address can't be used: " + err.Error())
	}
	// Issuers are compared to the letter, also with what a browser brings back (check). One that is written in another way
	// would be another one there.
	if origin != issuer {
		return nil, notAsSpecified("its address is not that of an issuer")
	}
	var m oauth.AuthServerMetadata
	if err := s.fetch(ctx, origin+serverPath, &m); err != nil {
		return nil, err
	}
	if m.Issuer != issuer {
		return nil, notAsSpecified("it says that it is another one")
	}
	addresses := []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.PushedAuthorizationRequestEndpoint}
	if m.RevocationEndpoint != "" { // not all have one
		addresses = append(addresses, m.RevocationEndpoint)
	}
	if !s.areConfidential(addresses) {
		return nil, notAsSpecified("an address in its metadata can't be used")
	}
	return &m, isCapable(m)
}

// areConfidential tells whether tokens, codes and people's browsers may be sent to all of these. A user in an address
// makes one host look like another, and a fragment is forbidden there (RFC 6749, sections 3.1 and 3.2).
func (s *service) areConfidential(addresses []string) bool {
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || !s.guard.Confidential(u) {
			return false
		}
	}
	return true
}

// isCapable checks what a server says that it can do. indigo knows what that must be, but wants addresses without a
// port and without exceptions: those that it gets are none. m is a copy, and the real ones were checked before.
func isCapable(m oauth.AuthServerMetadata) error {
	m.Issuer = "https://issuer.example"
	m.AuthorizationEndpoint = m.Issuer + "/authorize"
	if err := m.Validate(m.Issuer); err != nil {
		return notAsSpecified(strings.TrimPrefix(err.Error(), oauth.ErrInvalidAuthServerMetadata.Error()+": "))
	}
	return nil
}

// fetch reads a document, as a stranger: whoever publishes it is shown neither a token nor a proof. The answer is
// bounded in time and size by the client, and read as JSON.
func (s *service) fetch(ctx context.Context, address string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return &serverError{cause: err}
	}
	req.Header.Set("Accept", "application/json")
	_, err = s.ask(req, out)
	return err
}

// isAddress tells of a host that is no name: by its client id, accounts' own servers have to reach this one.
func isAddress(host string) bool {
	return host == "" || host == "localhost" || net.ParseIP(host) != nil
}

// notAuthorized is why an account could not be connected by OAuth. What is to be told from a server that is away
// comes first: one that knows nothing of OAuth answers 404 without any name of an error, and would pass for away.
func (s *service) notAuthorized(err error) error {
	var bad errServer
	var r *serverError
	switch {
	case errors.As(err, &bad):
		return &platform.Failure{
			Code: platform.CodeRejected, Rule: ruleOAuth,
			Message:     "The account's authorization server can't be used: " + string(bad) + ".",
			Remediation: "Connect the account by an app password.",
		}
	case errors.As(err, &r) && r.status == http.StatusNotFound:
		return &platform.Failure{
			Code: platform.CodeRejected, Rule: ruleOAuth, Message: "The account's server does not know OAuth.",
			Remediation: "Connect the account by an app password.",
		}
	case named(err, "invalid_grant"):
		f := begunAgain("The authorization has expired, or was used before.")
		return withResponse(err, f)
	}
	if f := s.common(err); f != nil {
		return f
	}
	message := "The account's authorization server has refused to connect this server."
	if errors.As(err, &r) && r.message != "" {
		message = fmt.Sprintf("%s It says: %s", message, r.message)
	}
	return withResponse(err, &platform.Failure{
		Code: platform.CodeRejected, Rule: ruleOAuth, Message: message,
		Remediation: "Connect the account by an app password, or tell whoever runs this server: its public URL must be " +
			"one that the account's server reaches.",
	})
}

// begunAgain is the failure of a connection that leads nowhere any more.
func begunAgain(why string) *platform.Failure {
	return &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: ruleOAuth, Message: why, Remediation: "Begin to connect the account again.",
	}
}

// anotherAccount: somebody signed in as who they had not named. Nothing is connected then: what is meant for
// the one account would go out in the name of the other.
func anotherAccount() *platform.Failure {
	return &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: ruleAnotherAccount,
		Message:     "The access was allowed to another account than the one that was to be connected.",
		Remediation: "Connect the account again, and sign in as the one that you name; or name the other one.",
	}
}
