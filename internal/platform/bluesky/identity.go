// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// identifier is how a person names their account: one of the three. The others are "", and of the zero identifier
// all.
type identifier struct {
	did    syntax.DID
	handle syntax.Handle
	email  string
}

// text is what a server is told.
func (i identifier) text() string { return string(i.did) + string(i.handle) + i.email }

// parseIdentifier reads what people type and paste: with an @, as an address of a page, with marks of direction that
// Bluesky's app puts around a handle, without the domain that most handles have. An e-mail address is told by the @
// in its middle, which no handle has.
func parseIdentifier(text string) (identifier, error) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	// In the order in which they may stand behind one another: the address of a profile has a scheme, and what is below it
	// may be written with an @.
	for _, before := range []string{"https://", "bsky.app/profile/", "at://", "@"} {
		text = strings.TrimPrefix(text, before)
	}
	text = strings.TrimRight(text, "/.")
	if did, err := syntax.ParseDID(text); err == nil {
		return identifier{did: did}, nil
	}
	if before, domain, ok := strings.Cut(text, "@"); ok && before != "" && strings.Contains(domain, ".") {
		return identifier{email: text}, nil
	}
	if text != "" && !strings.Contains(text, ".") {
		text += ".bsky.social"
	}
	handle, err := syntax.ParseHandle(text)
	if err != nil || !handle.AllowedTLD() {
		return identifier{}, errNoIdentifier
	}
	return identifier{handle: handle.Normalize()}, nil
}

var errNoIdentifier = errors.New("it is neither a handle nor a DID nor an e-mail address")

// errHost says that a server's address can't be used. Its text is for whoever gave the address.
type errHost string

func (e errHost) Error() string { return string(e) }

// checkHost reads the address of a server, which a person or a document gives. A path is refused and not ignored: what
// it was meant to say would get lost. A slash at the end is no path. The error is an errHost.
func checkHost(text string, guard *outbound.Guard) (string, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", errHost("it is not a URL such as https://pds.example.com")
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errHost("it has more in it than a host")
	case !guard.Confidential(u):
		return "", errHost("it is not encrypted: it must begin with https")
	}
	// In one spelling: addresses are compared, to see whether an account has moved.
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

// newDirectory resolves identities. indigo's does all but the bounds, which its HTTP client brings.
func (o Config) newDirectory() *identity.BaseDirectory {
	return &identity.BaseDirectory{
		PLCURL: o.PLCURL,
		// All handles are looked for in DNS: where that is skipped for some, a failure to find them otherwise gets lost.
		HTTPClient: *o.Guard.Client(outbound.Bounds{Time: lookupTime, Bytes: 256 << 10, Redirects: 3}),
	}
}

// errNobody: there is no such account.
var errNobody = errors.New("there is no account of this name")

// didOf finds out whom an identifier means. A handle leads there by DNS, or by a document on its own host. The error
// is errNobody if it leads nowhere; any other says that it is not known.
func (s *service) didOf(ctx context.Context, who identifier) (syntax.DID, error) {
	if who.did != "" {
		return who.did, nil
	}
	did, err := s.directory.ResolveHandle(ctx, who.handle)
	if errors.Is(err, identity.ErrHandleNotFound) || errors.Is(err, identity.ErrHandleReservedTLD) {
		return "", fmt.Errorf("%w: %w", errNobody, err)
	}
	return did, err
}

// pdsOf finds the server of an account: what its own document says, whatever server says so too. doc is not checked
// against anything else: what it says of the account's handle is its owner's claim, until the server says the same.
func (s *service) pdsOf(ctx context.Context, did syntax.DID) (host string, doc identity.Identity, err error) {
	found, err := s.directory.ResolveDID(ctx, did)
	if errors.Is(err, identity.ErrDIDNotFound) {
		return "", doc, fmt.Errorf("%w: %w", errNobody, err)
	}
	if err != nil {
		return "", doc, err
	}
	doc = identity.ParseIdentity(found)
	host, err = checkHost(doc.PDSEndpoint(), s.guard)
	if err != nil {
		return "", doc, fmt.Errorf("the identity of %s names a server that can't be used: %w", did, err)
	}
	return host, doc, nil
}

// notFound is the failure of an identity that could not be found out. It says nothing of where a name leads.
func notFound(err error) *platform.Failure {
	var bad errHost
	switch {
	case errors.Is(err, errNobody):
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleAccountNotFound, Message: "There is no account of this name.",
			Remediation: "Check the handle. If it is right, give the address of the account's server (PDS) as well.",
		}
	case errors.As(err, &bad):
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: rulePDSRefused,
			Message: "The account's identity names a server that can't be used: " + string(bad) + ".",
		}
	case outbound.IsRefused(err):
		return notPublic(platform.CodeInvalid)
	}
	return &platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleUnavailable,
		Message:     "The account's identity could not be looked up.",
		Remediation: "Try again later. Give the address of the account's server (PDS) if its handle can't be found.",
	}
}

// notPublic has the code of a mistake in a request while an account is connected, and that of an account that is lost
// later. The rule of the first is the field that was filled in.
func notPublic(code string) *platform.Failure {
	rule := rulePDSRefused
	if code == platform.CodeInvalid {
		rule = FieldPDSURL
	}
	return &platform.Failure{
		Code: code, Rule: rule,
		Message: "The server's address is not a public one, and was not asked.",
		Remediation: "Give the public address of the account's server. " +
			"Whoever runs this server can allow others (--outbound-allow).",
	}
}
