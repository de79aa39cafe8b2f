// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

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

// filledIn is what the person has filled in already, by the names of the platforms' fields; nil: nothing. The shape has
// those that some platform asks for before it sends a browser away (BeforeBrowser), and a test holds that.
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

// begunOf shows what a platform has begun.
func begunOf(to platform.Platform) func(platform.Begun) begunConnection {
	return func(b platform.Begun) begunConnection { return begunConnection{to.Name, b.State, b.Descriptor} }
}

// connectAccount begins a connection. The caller is told of a wrong profile before the platform is asked for anything.
func (a *API) connectAccount(r *endpoint.Request, in connectAccount) (begunConnection, error) {
	to, err := a.connecting.Connectable(r.Param())
	if err != nil {
		return begunConnection{}, err
	}
	profileID, err := a.profileFor(r, in.ProfileID)
	if err != nil {
		return begunConnection{}, err
	}
	begun, err := a.connecting.Begin(r.Context(), r.Caller(), r.Operation(), to, connecting.Wish{
		ProfileID: profileID, Method: in.Method, ReturnTo: in.ReturnTo, FilledIn: in.filledIn(),
	}, endpoint.Answer(r, endpoint.OK(begunOf(to))))
	return begunOf(to)(begun), err
}
