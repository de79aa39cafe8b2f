// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connecting

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

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

var (
	errMethod = problem.NewInvalid("method", "The method is neither credentials nor oauth.",
		"Leave it out, or send one of the two.")
	errReturnTo = problem.NewInvalid("returnTo", "returnTo is no address that a browser may be sent to from here.",
		"Send an http or https URL of an origin that whoever runs the server has allowed (--return-to), or leave it out.")
	// ErrNoAddress is the operator's to mend.
	ErrNoAddress = &problem.Problem{
		Kind: problem.Forbidden, Code: platform.CodeNotEnabled, Rule: "public_url",
		Message:     "This server does not know its own address, so no browser could come back to it.",
		Remediation: "Whoever runs the server sets it (--public-url).",
	}
	errManyConnecting = &problem.Problem{
		Kind: problem.RateLimited, Code: problem.CodeRateLimited, Rule: "connecting.too_many",
		Message:     "Too many connections of this organization wait for a browser.",
		Remediation: "Try again later: each of them ends after " + connection.ReturnWithinWords + ".",
		RetryAfter:  time.Minute,
	}
	// ErrNoneBegun and ErrReturnedLate are for a browser that comes back and is not expected, or not any more.
	ErrNoneBegun = &problem.Problem{
		Kind: problem.Invalid, Code: problem.CodeValidationFailed, Rule: "oauth.state",
		Message:     "No connection waits for this browser: it was made already, or was never begun here.",
		Remediation: "Begin to connect the account once more.",
	}
	ErrReturnedLate = &problem.Problem{
		Kind: problem.Invalid, Code: problem.CodeValidationFailed, Rule: "oauth.expired",
		Message:     "It took longer than " + connection.ReturnWithinWords + " to come back from the platform.",
		Remediation: "Begin to connect the account once more.",
	}
)

// Wish is what somebody wants to connect, and how.
type Wish struct {
	ProfileID string            // that the account is to belong to, and that the caller reaches; "": none
	Method    string            // platform.ByCredentials, platform.ByOAuth, or "" for the first that there is
	ReturnTo  string            // where a browser goes in the end; ""
	FilledIn  map[string]string // already; nil: nothing
}

// inBrowser tells whether a browser is to connect an account of the platform.
func (w Wish) inBrowser(to platform.Platform) bool {
	return w.Method == platform.ByOAuth || len(to.Fields) == 0
}

// Begin begins a connection.
//
// Where the platform only says what to ask for, nothing is stored. Where it sends a browser away, what goes on with it
// when it comes back is stored, sealed. That answer is not kept for an Idempotency-Key: it holds the browser's state,
// and to begin once more harms nobody.
func (c *Connecting) Begin(
	ctx context.Context, by *caller.Caller, op *write.Operation, to platform.Platform, w Wish,
	answer write.Answer[platform.Begun],
) (platform.Begun, error) {
	request, err := c.request(by, to, w)
	if err != nil {
		return platform.Begun{}, err
	}
	// Not in Commit's context, which a revocation would have to wait for.
	asking, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	begun, err := to.Connector.Begin(asking, request)
	if err != nil {
		return platform.Begun{}, Failed(to.Name, err)
	}
	if begun.AuthorizationURL == nil {
		return begun, nil
	}
	if c.o.Connections == nil {
		return platform.Begun{}, errors.New("a browser is sent away, and nothing is kept for its return")
	}
	begun.Descriptor.AuthorizationURL = begun.AuthorizationURL.String()
	kept := connection.Begun{
		Platform: to.Name, Actor: by.Actor.Ref(), ProfileID: w.ProfileID,
		OrganizationID: by.Organization.ID, OrganizationName: by.Organization.Name,
		CallbackURL: request.CallbackURL.String(), Resume: begun.Resume,
	}
	if request.ReturnTo != nil {
		kept.ReturnTo = request.ReturnTo.String()
	}
	row, err := c.o.Connections.SealBegun(request.State, kept)
	if err != nil {
		return platform.Begun{}, err
	}
	op.Unkept = true
	begun, err = write.Commit(ctx, op, answer, func(_ context.Context, tx *store.Tx) (platform.Begun, error) {
		return begun, tx.PutConnecting(row)
	})
	if errors.Is(err, store.ErrTooManyConnecting) {
		err = errManyConnecting
	}
	return begun, err
}

// request is what a platform is told of a connection that begins.
func (c *Connecting) request(
	by *caller.Caller, to platform.Platform, w Wish,
) (platform.ConnectionRequest, error) {
	switch w.Method {
	case "", platform.ByCredentials, platform.ByOAuth:
	default:
		return platform.ConnectionRequest{}, errMethod
	}
	// Without a browser, what is no address has always been accepted and ignored.
	returnTo, err := platform.CheckReturnTo(w.ReturnTo)
	request := platform.ConnectionRequest{ReturnTo: returnTo, Method: w.Method, Credentials: w.FilledIn}
	if !w.inBrowser(to) {
		return request, nil
	}
	switch {
	case err != nil, returnTo != nil && !c.mayReturnTo(returnTo):
		return request, errReturnTo
	case c.o.Public == nil:
		return request, ErrNoAddress
	}
	var random [stateBytes]byte
	if _, err := io.ReadFull(c.o.Random, random[:]); err != nil {
		return request, fmt.Errorf("make a state: %w", err)
	}
	request.State = base64.RawURLEncoding.EncodeToString(random[:])
	if by.Actor.Kind == caller.Person {
		request.State = personState + request.State
	}
	request.CallbackURL = c.CallbackURL(to.Name)
	return request, nil
}

const (
	// stateBytes of randomness: nobody comes back for somebody else by guessing.
	stateBytes = 32
	// personState begins the states of people. Base64 has no dot. It lets nobody in: who has begun, the row says.
	personState = "person."
)

// OfPerson tells whether a browser comes back for a person: then it is their session that decides, at the dashboard.
func OfPerson(state string) bool { return strings.HasPrefix(state, personState) }

// PersonReturnsTo is the path of the dashboard that takes such a browser over. Only pages there look at a session that
// another site has led somebody here with.
func PersonReturnsTo(of platform.Name) string {
	return "/dashboard/accounts/-/connect/" + string(of) + "/returned"
}

// mayReturnTo tells whether a browser may be sent to an address in the end. Otherwise this server would send people
// anywhere from an address that they trust.
func (c *Connecting) mayReturnTo(u *url.URL) bool {
	origin := originOf(u)
	// Where this server runs on somebody's own machine, what they develop beside it is at some other port of theirs. There
	// is nobody else at such an address whom they could be sent to.
	return c.o.Public != nil && origin == originOf(c.o.Public) || slices.Contains(c.o.ReturnTo, origin) ||
		c.o.Public != nil && outbound.IsLoopback(u.Hostname()) && outbound.IsLoopback(c.o.Public.Hostname())
}

// originOf is an address's scheme, host and port (RFC 6454), the port left out where it is the scheme's own.
func originOf(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	// Hostname has taken the brackets off an IPv6 address, and without them its end could not be told from a port.
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

// Take finds what a browser has come back to. Nobody else gets it, whatever becomes of it. With ErrReturnedLate comes
// what began, so that the browser can still be sent on. Who often causes ErrNoneBegun is guessing.
func (c *Connecting) Take(ctx context.Context, of platform.Name, state string) (connection.Begun, error) {
	if c.o.Connections == nil {
		return connection.Begun{}, ErrNotEnabled
	}
	begun, err := c.o.Connections.TakeBegun(ctx, of, state)
	switch {
	case errors.Is(err, connection.ErrNoneBegun):
		return begun, ErrNoneBegun
	case errors.Is(err, connection.ErrReturnedLate):
		return begun, ErrReturnedLate
	case errors.Is(err, connection.ErrUnusable):
		return begun, ErrVault
	}
	return begun, err
}

// Return connects the account that a browser has come back from, with the query that it brings, for whoever has begun
// it: the caller has made sure that op is theirs, and that they reach the profile.
func (c *Connecting) Return(
	ctx context.Context, op *write.Operation, to platform.Platform, begun connection.Begun, query url.Values,
) (Connected, error) {
	callback, err := url.Parse(begun.CallbackURL)
	if err != nil {
		return Connected{}, errors.New("the address of the callback is not one")
	}
	// Nobody repeats it: a browser that comes twice finds that its state is gone.
	none := func(Connected) (store.Stored, error) { return store.Stored{}, nil }
	return c.complete(ctx, op, to, begun.ProfileID, platform.ConnectionAnswer{
		Callback: query, CallbackURL: callback, Resume: begun.Resume,
	}, none)
}
