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

	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// account is a connected account as the API shows it. There is no token in it, nor in anything that it is made of.
type account struct {
	ID                string     `json:"id"`
	ProfileID         *string    `json:"profileId" doc:"The profile that it belongs to; null: the organization alone, and keys pinned to a profile don't see it."`
	Platform          string     `json:"platform" enum:"bluesky,linkedin"`
	PlatformAccountID string     `json:"platformAccountId" doc:"The platform's own id of the account, such as a DID."`
	DisplayName       *string    `json:"displayName"`
	TokenExpiresAt    *time.Time `json:"tokenExpiresAt" doc:"When the connection ends unless it is renewed, which happens by itself; null: it does not end."`
	CreatedAt         time.Time  `json:"createdAt"`
	UpdatedAt         time.Time  `json:"updatedAt"`
}

func accountOf(a store.Account) account {
	return account{
		ID:                a.ID,
		ProfileID:         stringOrNull(a.ProfileID),
		Platform:          string(a.Platform),
		PlatformAccountID: a.PlatformAccountID,
		DisplayName:       stringOrNull(a.DisplayName),
		TokenExpiresAt:    timeOrNull(a.TokenExpiresAt),
		CreatedAt:         a.CreatedAt,
		UpdatedAt:         a.UpdatedAt,
	}
}

var (
	errNoAccount = &problem{
		status: http.StatusNotFound, code: codeNotFound,
		message:     "There is no account with this id that the key reaches.",
		remediation: "GET /v1/accounts lists the accounts that the key reaches.",
	}
	errNotEnabled = &problem{
		status: http.StatusForbidden, code: codeNotEnabled, rule: "platform",
		message:     "This server does not offer this platform yet.",
		remediation: "Try it on the test environment, with a test key.",
	}
	errPlatform = errInvalid("platform", "There is no platform of this name.", catalog.All.Sentence())
)

func (a *API) listAccounts(r *request) (page[account], error) {
	query, err := r.query()
	if err != nil {
		return page[account]{}, err
	}
	p, err := r.storePage(query)
	if err != nil {
		return page[account]{}, err
	}
	view, err := a.viewOfQuery(r, query)
	if err != nil {
		return page[account]{}, err
	}
	accounts, more, err := view.Accounts(r.context(), p)
	if err != nil {
		return page[account]{}, err
	}
	where := func(a store.Account) position { return position{a.CreatedAt, a.ID} }
	return pageOf(accounts, more, where, accountOf), nil
}

func (a *API) getAccount(r *request) (account, error) {
	found, err := a.view(r).Account(r.context(), r.param)
	if err != nil {
		return account{}, orNotFound(err, errNoAccount)
	}
	return accountOf(found), nil
}

// orNotFound returns the problem of this kind of thing if err is that it was not found.
func orNotFound(err error, p *problem) error {
	if errors.Is(err, store.ErrNotFound) {
		return p
	}
	return err
}

// deleted is what is left of a thing that was deleted.
type deleted struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted" enum:"true"`
}

func (a *API) disconnectAccount(r *request, _ nothing) (deleted, error) {
	gone, err := commit(a, r, func(_ context.Context, tx *store.Tx) (deleted, error) {
		return deleted{r.param, true}, tx.DeleteAccount(r.param)
	})
	return gone, orNotFound(err, errNoAccount)
}

// connectAccount is the body of a request to begin a connection.
type connectAccount struct {
	ProfileID *string `json:"profileId,omitempty" doc:"The profile that the account is to belong to."`
	ReturnTo  string  `json:"returnTo,omitempty" doc:"Where a browser goes in the end, for platforms that are connected in one."`
}

// connection tells how an account is connected.
type connection struct {
	Platform   string              `json:"platform" enum:"bluesky,linkedin"`
	State      string              `json:"state" enum:"live,trial,pending"`
	Descriptor platform.Descriptor `json:"descriptor"`
}

func (a *API) connectAccount(r *request, in connectAccount) (connection, error) {
	to, err := a.connectable(r.param)
	if err != nil {
		return connection{}, err
	}
	if _, err := a.profileFor(r, in.ProfileID); err != nil {
		return connection{}, err
	}
	// What is no address has always been accepted and ignored; so it is until a platform needs one.
	returnTo, _ := platform.CheckReturnTo(in.ReturnTo)
	begun, err := to.Connector.Begin(r.context(), platform.ConnectionRequest{ReturnTo: returnTo})
	if err != nil {
		return connection{}, connectFailed(to.Name, err)
	}
	return connection{r.param, string(begun.State), begun.Descriptor}, nil
}

// connectable returns a platform that accounts can be connected of, by the name that a caller gave it.
func (a *API) connectable(name string) (platform.Platform, error) {
	if _, ok := catalog.All.Get(platform.Name(name)); !ok {
		return platform.Platform{}, errPlatform
	}
	p, _ := a.config.Platforms.Get(platform.Name(name))
	if p.Connector == nil {
		return p, errNotEnabled
	}
	return p, nil
}

// completeConnection is what the descriptor's fields ask for, by their names, and profileId. What of it is secret goes
// to the platform and nowhere else.
type completeConnection map[string]string

// connectWithin bounds the platform's answer to a connection's credentials.
const connectWithin = 15 * time.Second

func (a *API) completeConnection(r *request, in completeConnection) (account, error) {
	to, err := a.connectable(r.param)
	if err != nil {
		return account{}, err
	}
	var named *string
	if id, ok := in["profileId"]; ok {
		named = &id
		delete(in, "profileId")
	}
	profileID, err := a.profileFor(r, named)
	if err != nil {
		return account{}, err
	}
	if err := checkFields(to.Fields, in); err != nil {
		return account{}, err
	}
	ctx, cancel := context.WithTimeout(r.context(), connectWithin)
	defer cancel()
	c, err := to.Connector.Complete(ctx, platform.ConnectionAnswer{Credentials: in})
	if err != nil {
		return account{}, connectFailed(platform.Name(r.param), err)
	}
	now := a.now()
	connected, err := commit(a, r, func(_ context.Context, tx *store.Tx) (account, error) {
		put, created, err := tx.PutAccount(store.Account{
			ID: a.config.NewID(), ProfileID: profileID, Platform: platform.Name(r.param),
			PlatformAccountID: c.PlatformAccountID, DisplayName: c.DisplayName, TokenExpiresAt: c.TokenExpiresAt,
			CreatedAt: now, UpdatedAt: now,
		})
		r.status = http.StatusOK
		if created {
			r.status = http.StatusCreated
		}
		return accountOf(put), err
	})
	return connected, orNotFound(err, errNoProfile)
}

// checkFields tells which field is missing, or is none.
func checkFields(fields []platform.Field, in map[string]string) error {
	known := map[string]bool{}
	for _, f := range fields {
		known[f.Name] = true
		if f.Required && in[f.Name] == "" {
			return errInvalid(
				f.Name,
				"A field that the connection needs is missing.",
				"POST /v1/accounts/connect/{platform} lists the fields.",
			)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if !known[name] {
			return errInvalid(
				ruleAt(jsontext.Pointer("").AppendToken(name)),
				"The request's body has a member that the connection does not know.",
				"POST /v1/accounts/connect/{platform} lists the fields.",
			)
		}
	}
	return nil
}

// connectFailed turns a platform's refusal of credentials into what the caller is told. A mistake of ours is told in
// our own words.
func connectFailed(name platform.Name, err error) error {
	var f *platform.Failure
	if !errors.As(err, &f) || statusOf(f.Code) == http.StatusInternalServerError {
		return err
	}
	return problemOf(name, f)
}

// problemOf is a platform's failure as that of a request.
func problemOf(name platform.Name, f *platform.Failure) *problem {
	return &problem{
		status: statusOf(
			f.Code,
		), code: f.Code, message: f.Message, rule: f.Rule, remediation: f.Remediation, platform: string(name),
	}
}

// statusOf is the status of a request that ends with a platform's failure.
func statusOf(code string) int {
	switch code {
	case platform.CodeInvalid, platform.CodePreflightFailed, platform.CodeRejected:
		return http.StatusBadRequest
	case platform.CodeAuthFailed, platform.CodeNotEnabled:
		return http.StatusForbidden
	case platform.CodeRateLimited:
		return http.StatusTooManyRequests
	case platform.CodeUnavailable:
		return http.StatusBadGateway
	default:
		return http.StatusInternalServerError
	}
}
