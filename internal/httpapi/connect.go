// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// errNotEnabled is for a platform that there is and that this server has no connector of. It is no 404, because the
// name is right, and the same request works elsewhere.
var errNotEnabled = &problem.Problem{
	Kind: problem.Forbidden, Code: platform.CodeNotEnabled, Rule: "platform",
	Message:     "This server is not set up for this platform.",
	Remediation: "Tell whoever runs the server, whose log says what is missing; or try it with a test key.",
}

// errVault is the operator's to mend; the log says what is wrong. Reading goes on meanwhile.
var errVault = &problem.Problem{
	Kind: problem.Unavailable, Code: problem.CodeUnavailable, Rule: "vault.unusable",
	Message:     "Accounts can't be connected at the moment: what opens them could not be kept.",
	Remediation: "Tell whoever runs the server, and try again later.",
}

// connectAccount is the body of a request to begin a connection. That there is such a profile is checked now, so that
// nobody finds out after a browser has been to the platform and back. maxBytes is what a body may have, so that an id
// that is too long is a 404 like any that does not exist.
type connectAccount struct {
	ProfileID  *string `json:"profileId,omitempty" maxBytes:"1048576" doc:"The profile that the account is to belong to."`
	ReturnTo   string  `json:"returnTo,omitempty" doc:"Where a browser goes in the end, for platforms that are connected in one. Its origin must be one that whoever runs the server has allowed."`
	Method     string  `json:"method,omitempty" doc:"How to connect: credentials, or oauth for a browser; where a platform has both, credentials by default."`
	Identifier string  `json:"identifier,omitempty" doc:"The account's handle, for platforms that find out by it where to send the browser (bluesky)."`
	PDSURL     string  `json:"pdsUrl,omitempty" doc:"Of bluesky: where the account is, if its handle does not tell."`
}

// inBrowser tells whether a browser is to connect an account of the platform.
func (in connectAccount) inBrowser(to platform.Platform) bool {
	return in.Method == platform.ByOAuth || len(to.Fields) == 0
}

// filledIn is what the person has filled in already; nil: nothing.
func (in connectAccount) filledIn() map[string]string {
	var all map[string]string
	for name, value := range map[string]string{platform.FieldIdentifier: in.Identifier, "pdsUrl": in.PDSURL} {
		if value != "" {
			if all == nil {
				all = map[string]string{}
			}
			all[name] = value
		}
	}
	return all
}

// begunConnection tells how an account is connected: what to ask somebody for, by what words, and where it may be
// tried. A client needs to know no platform to show the form. State says how far the platform lets accounts be
// connected at all; a client shows it before somebody looks for a password.
type begunConnection struct {
	Platform   platform.Name            `json:"platform"`
	State      platform.ConnectionState `json:"state" enum:"stable,trial,pending"`
	Descriptor platform.Descriptor      `json:"descriptor"`
}

var (
	errMethod = problem.NewInvalid("method", "The method is neither credentials nor oauth.",
		"Leave it out, or send one of the two.")
	errReturnTo = problem.NewInvalid("returnTo", "returnTo is no address that a browser may be sent to from here.",
		"Send an http or https URL of an origin that whoever runs the server has allowed (--return-to), or leave it out.")
	// errNoAddress is the operator's to mend.
	errNoAddress = &problem.Problem{
		Kind: problem.Forbidden, Code: platform.CodeNotEnabled, Rule: "public_url",
		Message:     "This server does not know its own address, so no browser could come back to it.",
		Remediation: "Whoever runs the server sets it (--public-url).",
	}
	errManyConnecting = &problem.Problem{
		Kind: problem.RateLimited, Code: problem.CodeRateLimited, Rule: "connecting.too_many",
		Message:     "Too many connections of this organization wait for a browser.",
		Remediation: "Try again later: each of them ends after ten minutes.",
		RetryAfter:  time.Minute,
	}
)

// connectAccount begins a connection. The caller is told of a wrong profile before the platform is asked for anything.
//
// Where the platform only says what to ask for, nothing is stored. Where it sends a browser away, what goes on with it
// when it comes back is stored, sealed. That answer is not kept for an Idempotency-Key: it holds the browser's state,
// and to begin once more harms nobody.
func (a *API) connectAccount(r *endpoint.Request, in connectAccount) (begunConnection, error) {
	to, err := a.connectable(r.Param())
	if err != nil {
		return begunConnection{}, err
	}
	profileID, err := a.profileFor(r, in.ProfileID)
	if err != nil {
		return begunConnection{}, err
	}
	request, err := a.connectionRequest(to, in)
	if err != nil {
		return begunConnection{}, err
	}
	// Not in Commit's context, which a revocation would have to wait for.
	ctx, cancel := context.WithTimeout(r.Context(), connectWithin)
	defer cancel()
	begun, err := to.Connector.Begin(ctx, request)
	if err != nil {
		return begunConnection{}, connectFailed(to.Name, err)
	}
	shown := begunConnection{to.Name, begun.State, begun.Descriptor}
	if begun.AuthorizationURL == nil {
		return shown, nil
	}
	if a.config.Connections == nil {
		return begunConnection{}, errors.New("a browser is sent away, and nothing is kept for its return")
	}
	shown.Descriptor.AuthorizationURL = begun.AuthorizationURL.String()
	kept := connection.Begun{
		Platform: to.Name, Actor: r.Caller().Actor.Ref(), ProfileID: profileID,
		OrganizationID: r.Caller().Organization.ID, OrganizationName: r.Caller().Organization.Name,
		CallbackURL: request.CallbackURL.String(), Resume: begun.Resume,
	}
	if request.ReturnTo != nil {
		kept.ReturnTo = request.ReturnTo.String()
	}
	row, err := a.config.Connections.SealBegun(request.State, kept)
	if err != nil {
		return begunConnection{}, err
	}
	r.Operation().Unkept = true
	show := func(b begunConnection) begunConnection { return b }
	shown, err = write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, endpoint.OK(show)),
		func(_ context.Context, tx *store.Tx) (begunConnection, error) { return shown, tx.PutConnecting(row) })
	if errors.Is(err, store.ErrTooManyConnecting) {
		err = errManyConnecting
	}
	return shown, err
}

// connectionRequest is what a platform is told of a connection that begins.
func (a *API) connectionRequest(to platform.Platform, in connectAccount) (platform.ConnectionRequest, error) {
	switch in.Method {
	case "", platform.ByCredentials, platform.ByOAuth:
	default:
		return platform.ConnectionRequest{}, errMethod
	}
	// Without a browser, what is no address has always been accepted and ignored.
	returnTo, err := platform.CheckReturnTo(in.ReturnTo)
	request := platform.ConnectionRequest{ReturnTo: returnTo, Method: in.Method, Credentials: in.filledIn()}
	if !in.inBrowser(to) {
		return request, nil
	}
	switch {
	case err != nil, returnTo != nil && !a.mayReturnTo(returnTo):
		return request, errReturnTo
	case a.public == nil:
		return request, errNoAddress
	}
	var random [stateBytes]byte
	if _, err := io.ReadFull(a.config.Random, random[:]); err != nil {
		return request, fmt.Errorf("make a state: %w", err)
	}
	request.State = base64.RawURLEncoding.EncodeToString(random[:])
	request.CallbackURL = a.callbackURL(to.Name)
	return request, nil
}

// stateBytes of randomness: nobody comes back for somebody else by guessing.
const stateBytes = 32

// mayReturnTo tells whether a browser may be sent to an address in the end. Otherwise this server would send people
// anywhere from an address that they trust.
func (a *API) mayReturnTo(u *url.URL) bool {
	origin := originOf(u)
	return origin == originOf(a.public) || slices.Contains(a.config.ReturnTo, origin) ||
		platform.IsLoopback(u.Hostname()) && platform.IsLoopback(a.public.Hostname())
}

// originOf is an address's scheme, host and port (RFC 6454), the port left out where it is the scheme's own.
func originOf(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

// connectable returns a platform that accounts can be connected of, by the name that a caller gave it. The catalog is
// asked first, which has every platform that this program knows; Config.Platforms are those that this server offers. A
// name that exists nowhere is a typing error, and one that is not enabled here is this server's state; callers are told
// which.
func (a *API) connectable(name string) (platform.Platform, error) {
	if _, ok := catalog.All.Get(platform.Name(name)); !ok {
		return platform.Platform{}, posting.NoPlatform("platform")
	}
	p, _ := a.config.Platforms.Get(platform.Name(name))
	switch {
	case p.Connector == nil:
		return p, errNotEnabled
	// Before the platform is asked for anything: what it gives could not be kept.
	case a.config.Connections != nil && !a.config.Connections.Usable():
		return p, errVault
	}
	return p, nil
}
