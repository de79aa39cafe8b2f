// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// completeConnection is what the descriptor's fields ask for, by their names, and profileId. What of it is secret goes
// to the platform and nowhere else: not into a log, an error or the database, where only an HMAC of the body is kept.
type completeConnection map[string]string

// MaxBytes is how long a value may be. Of the profile's id it is the body: see endpoint.
func (completeConnection) MaxBytes(name string) int {
	if name == "profileId" {
		return 1 << 20
	}
	return 4 << 10
}

// connectWithin bounds the platform's answer to a connection's credentials. The caller waits for it, and the server's
// own time for a response has to be enough to say that the platform could not be asked.
const connectWithin = 15 * time.Second

// connected is an account that has been connected, and whether it is a new one. Only the transaction knows.
type connected struct {
	store.Account
	created  bool
	at       time.Time
	warnings []platform.Warning
}

// show is the account as whoever has connected it is told.
func (c connected) show() account {
	shown := accountOf(c.Account, c.at)
	shown.Warnings = c.warnings
	return shown
}

// completeConnection connects an account with the caller's credentials. The platform is asked before the commit point
// and outside of the transaction: a slow platform must hold up neither a revocation nor the database. If the key is
// revoked meanwhile, the platform has been asked in vain, and nothing is stored.
func (a *API) completeConnection(r *endpoint.Request, in completeConnection) (account, error) {
	to, err := a.connectable(r.Param())
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
	// Not in Commit's context, which a revocation would have to wait for.
	ctx, cancel := context.WithTimeout(r.Context(), connectWithin)
	defer cancel()
	c, err := to.Connector.Complete(ctx, platform.ConnectionAnswer{Credentials: in})
	if err == nil {
		c, err = c.Bounded()
	}
	if err != nil {
		return account{}, connectFailed(platform.Name(r.Param()), err)
	}
	now := a.now() // after the platform's answer: the connection is not older than that
	put, err := write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, connectedAnswer),
		func(_ context.Context, tx *store.Tx) (connected, error) {
			return a.keepAccount(tx, to.Name, profileID, c, now)
		})
	return put.show(), posting.OrNotFound(err, posting.ErrNoProfile)
}

// keepAccount stores an account that the platform has let us in to, with what opens it.
func (a *API) keepAccount(
	tx *store.Tx, of platform.Name, profileID string, c platform.Connection, now time.Time,
) (connected, error) {
	put, created, err := tx.PutAccount(store.Account{
		// Of an account that is there already, id and creation time stay: see PutAccount.
		ID: a.config.NewID(), ProfileID: profileID, Platform: of,
		PlatformAccountID: c.PlatformAccountID, DisplayName: c.DisplayName,
		TokenExpiresAt: c.TokenExpiresAt, RefreshAt: c.RefreshAt, CreatedAt: now, UpdatedAt: now,
	})
	if err == nil && a.config.Connections != nil {
		err = a.keepSecrets(tx, put.ID, c.Secrets)
	}
	return connected{put, created, now, c.Warnings}, err
}

// keepSecrets stores what opens an account, sealed as the account's. The credentials themselves are stored nowhere
// else: of the body, an HMAC alone is kept.
func (a *API) keepSecrets(tx *store.Tx, accountID string, secrets platform.Secrets) error {
	sealed, err := a.config.Connections.Seal(tx.Organization(), accountID, secrets)
	if err != nil {
		return err
	}
	return tx.PutSecrets(accountID, sealed)
}

// connectedAnswer tells a new account (201) from one whose credentials were renewed (200): to connect again is how
// people mend an account whose token was taken back, and its posts must stay its own. What is stored for the
// Idempotency-Key is this status too, so a request that is sent again does not say that it was renewed.
func connectedAnswer(c connected) (int, account) {
	if c.created {
		return http.StatusCreated, c.show()
	}
	return http.StatusOK, c.show()
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

// connectFailed turns a platform's refusal of credentials into what the caller is told. A mistake of ours stays the
// error that it is, so that its text is in the log and not in the answer. A *platform.Failure says whose fault it is by
// its code.
func connectFailed(name platform.Name, err error) error {
	var f *platform.Failure
	if !errors.As(err, &f) {
		return err
	}
	if p := f.Problem(name); p.Kind != problem.Internal {
		return p
	}
	return err
}

// Schema describes what a connection is completed with, as far as that is the same for all platforms or known of one.
// It is written by hand because the fields are a platform's, and a map has no type that would say them.
func (completeConnection) Schema(huma.Registry) *huma.Schema {
	text := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: description}
	}
	return &huma.Schema{
		Type: huma.TypeObject, Description: "The fields that the platform's descriptor lists, by their names.",
		Properties: map[string]*huma.Schema{
			"identifier":  text("The account's handle."),
			"appPassword": text("Of bluesky: an app password, never the account's own."),
			"pdsUrl":      text("Of bluesky: where the account is, if not at bsky.social."),
			"profileId":   text("The profile that the account is to belong to."),
		},
		AdditionalProperties: text("What else the descriptor lists."),
	}
}
