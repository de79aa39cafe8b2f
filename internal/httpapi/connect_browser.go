// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"
	"net/url"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// The browser of somebody who connects an account comes back from the platform with a state, and with nothing else that
// says who they are. The state leads to whoever began: it was made for them, is good once and for ten minutes, and
// stands in the database as a hash alone. Whoever began must be as good as they were then.

var errBeginnerGone = &problem.Problem{
	Kind: problem.Forbidden, Code: problem.CodeUnauthorized, Rule: "oauth.beginner",
	Message:     "The key that began this connection is not valid any more.",
	Remediation: "Begin to connect the account once more, with another key.",
}

// The parameters that tell where a browser is sent in the end what came of it.
const (
	paramConnected    = "connected"     // the account's id
	paramConnectError = "connect_error" // the code of an error
)

// connectionReturned is where a platform sends the browser back to.
func (a *API) connectionReturned(r *endpoint.Request) (endpoint.WebPage, error) {
	to, err := a.connecting.Connectable(r.Param())
	if err != nil {
		return endpoint.WebPage{}, err
	}
	if !a.connecting.TakesBrowsers() {
		return endpoint.WebPage{}, connecting.ErrNotEnabled
	}
	// Only their session can say whether a person still may, so they go on to the dashboard with what the platform said.
	if states := r.Query()["state"]; len(states) == 1 && connecting.OfPerson(states[0]) {
		return endpoint.WebPage{Location: connecting.PersonReturnsTo(to.Name) + "?" + r.Query().Encode()}, nil
	}
	begun, err := a.takeBegun(r, to.Name)
	var id string
	if err == nil {
		id, err = a.finishConnection(r, to, begun)
	}
	switch {
	case err == nil && begun.ReturnTo == "":
		return endpoint.WebPage{
			Title: "The account is connected", Text: "You can close this window, and go back to where you came from.",
		}, nil
	case err == nil:
		return sentOn(begun, paramConnected, id), nil
	case begun.ReturnTo == "":
		return endpoint.WebPage{}, err
	}
	p := r.Problem(err)
	if p.Kind == problem.Internal { // for the log and a page: the other side could do nothing about it
		return endpoint.WebPage{}, err
	}
	page := sentOn(begun, paramConnectError, p.Code)
	page.Failure = err
	return page, nil
}

// sentOn sends a browser to where whoever began wants it in the end, and says there what came of it.
func sentOn(begun connection.Begun, param, value string) endpoint.WebPage {
	u, err := url.Parse(begun.ReturnTo) // which was checked, and sealed since
	if err != nil {
		return endpoint.WebPage{Title: "That did not work", Text: "The address to go on to is not valid."}
	}
	query := u.Query()
	// Whoever began may have come from here themselves: what an earlier connection came to must not stand beside this one.
	query.Del(paramConnected)
	query.Del(paramConnectError)
	query.Set(param, value)
	query.Set("platform", string(begun.Platform))
	u.RawQuery = query.Encode()
	return endpoint.WebPage{Location: u.String()}
}

// takeBegun finds what the browser has come back to. With connecting.ErrReturnedLate comes what began, so that the
// browser can still be sent on.
func (a *API) takeBegun(r *endpoint.Request, of platform.Name) (connection.Begun, error) {
	states := r.Query()["state"]
	if len(states) != 1 || states[0] == "" {
		return connection.Begun{}, connecting.ErrNoneBegun
	}
	begun, err := a.connecting.Take(r.Context(), of, states[0])
	if errors.Is(err, connecting.ErrNoneBegun) {
		// Nobody comes twice, or with a state of nobody's, but by mistake. Whoever does it often is guessing.
		if limited := a.config.Admission.Failed(r.Start(), r); limited != nil {
			return begun, limited
		}
	}
	return begun, err
}

// finishConnection connects the account for whoever began, and returns its id. Everything else is as for credentials:
// the platform is asked before the commit point, and nothing is stored for a key that is revoked meanwhile.
func (a *API) finishConnection(
	r *endpoint.Request, to platform.Platform, begun connection.Begun,
) (id string, err error) {
	organization := caller.Organization{ID: begun.OrganizationID, Name: begun.OrganizationName}
	var admitted admission.Admitted
	err = a.config.Admission.AdmitAgain(r.Context(), organization, begun.Actor, v1alpha1.ScopeAccountsWrite, &admitted)
	if err != nil {
		return "", a.beginnerGone(err)
	}
	// Once the account is stored, End says nothing any more, whatever has become of the key: what is done is to be told.
	defer func() {
		if cut := admitted.End(); cut != nil {
			id, err = "", a.beginnerGone(cut)
		}
	}()
	// Looked up again: it may have gone while the browser was away.
	profile := begun.ProfileID
	if profile != "" && admitted.Caller().FindProfile(a.config.Directory, profile) == nil {
		return "", posting.ErrNoProfile
	}
	operation := a.writes.Start(a.config.Store.View(admitted.Caller()), r.ID())
	put, err := a.connecting.Return(admitted.Context(), &operation, to, begun, r.Query())
	return put.ID, err
}

// beginnerGone says of a key that is refused that it is the one that began: there is no other in the request.
func (a *API) beginnerGone(err error) error {
	if refusal := a.config.Admission.Of(err); refusal != nil && refusal.Code != admission.Unavailable {
		return errBeginnerGone
	}
	return err
}
