// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// completeConnection is what the descriptor's fields ask for, by their names, and profileId. What of it is secret goes
// to the platform and nowhere else: not into a log, an error or the database, where only an HMAC of the body is kept.
type completeConnection map[string]string

// MaxBytes is how long a value may be. Of the profile's id it is the body: see endpoint.
func (completeConnection) MaxBytes(name string) int {
	if name == "profileId" {
		return 1 << 20
	}
	return connecting.MaxFilledIn
}

// connectedOf is the account as whoever has connected it is told.
func (a *API) connectedOf(c connecting.Connected) account {
	shown := a.accountOf(c.Account, c.At)
	shown.Warnings = append(shown.Warnings, c.Warnings...)
	return shown
}

// completeConnection connects an account with the caller's credentials. If the key is revoked while the platform is
// asked, that was in vain, and nothing is stored.
func (a *API) completeConnection(r *endpoint.Request, in completeConnection) (account, error) {
	to, err := a.connecting.Connectable(r.Param())
	if err != nil {
		return account{}, err
	}
	var named *string
	if id, ok := in["profileId"]; ok {
		named = &id
		// It is no credential, and no platform is told it.
		delete(in, "profileId") // the rest is the platform's
	}
	profileID, err := a.profileFor(r, named)
	if err != nil {
		return account{}, err
	}
	// Before the platform is asked: it would refuse a field that is missing in words of its own, and after some seconds.
	if err := checkFields(to.Fields, in); err != nil {
		return account{}, err
	}
	put, err := a.connecting.Complete(r.Context(), r.Operation(), to, profileID, in, endpoint.Answer(r, a.connectedAnswer))
	return a.connectedOf(put), err
}

// connectedAnswer tells a new account (201) from one whose credentials were renewed (200): to connect again is how
// people mend an account whose token was taken back, and its posts must stay its own. What is stored for the
// Idempotency-Key is this status too, so a request that is sent again does not say that it was renewed.
func (a *API) connectedAnswer(c connecting.Connected) (int, account) {
	if c.Created {
		return http.StatusCreated, a.connectedOf(c)
	}
	return http.StatusOK, a.connectedOf(c)
}

// checkFields tells which field is missing, or is none. The first one in order counts, so that the answer to one
// request is always the same. No value is looked at: whether credentials are right is for the platform to say. An
// unknown field is refused, because it may be a secret in a place where nobody looks for it, or the right one misspelt.
func checkFields(fields []platform.Field, in map[string]string) error {
	known := map[string]bool{}
	for _, f := range fields {
		known[f.Name] = true
		if f.Required && in[f.Name] == "" {
			return problem.NewInvalid(f.Name, "A field that the connection needs is missing.",
				"POST /v1/accounts/connect/{platform} lists the fields.")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !known[name] {
			return problem.NewInvalid(endpoint.RuleAt(jsontext.Pointer("").AppendToken(name)),
				"The request's body has a member that the connection does not know.",
				"POST /v1/accounts/connect/{platform} lists the fields.")
		}
	}
	return nil
}

// Schema describes what a connection is completed with: what some platform asks for, since a map has no type that would
// say it.
func (completeConnection) Schema(huma.Registry) *huma.Schema {
	text := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: description}
	}
	fields := map[string]*huma.Schema{}
	for i := range catalog.All {
		p := &catalog.All[i]
		for _, f := range p.Fields {
			fields[f.Name] = text(strings.TrimSpace(fmt.Sprintf("Of %s: %s. %s", p.Name, f.Label, f.HelpText)))
		}
	}
	// Every platform's sandbox asks for it.
	fields[platform.FieldIdentifier] = text("What names the account, such as its handle.")
	fields["profileId"] = text("The profile that the account is to belong to.")
	return &huma.Schema{
		Type: huma.TypeObject, Description: "The fields that the platform's descriptor lists, by their names.",
		Properties:           fields,
		AdditionalProperties: text("What else the descriptor lists."),
	}
}
