// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// account is a connected account as the API shows it. There is no token in it, nor in anything that it is made of: what
// is never read from the database can't be shown by mistake.
type account struct {
	ID                string        `json:"id"`
	ProfileID         *string       `json:"profileId" doc:"The profile that it belongs to; null: the organization alone, and keys pinned to a profile don't see it."`
	Platform          platform.Name `json:"platform"`
	PlatformAccountID string        `json:"platformAccountId" doc:"The platform's own id of the account, such as a DID."`
	DisplayName       *string       `json:"displayName"`
	TokenExpiresAt    *time.Time    `json:"tokenExpiresAt" doc:"When the connection ends unless somebody connects the account again; null: it is kept up by itself, and does not end."`
	// State is no word of the reference's; see docs/accounts.md for what leads from one to another.
	State     connection.State   `json:"state" doc:"Whether posts go out by it. expiring: connect it again before tokenExpiresAt. reconnect_required: connect it again; what is queued for it waits for that. disconnected: it is gone; in the list that is asked for with state=disconnected alone."`
	Problem   *platform.Failure  `json:"problem,omitempty" doc:"Why the account has to be connected again."`
	Warnings  []platform.Warning `json:"warnings,omitempty" doc:"What is to be known of the platform now, such as that it is about to end what this server uses; see docs/accounts.md. In the answer to whoever connects the account, also what was noticed then."`
	CreatedAt time.Time          `json:"createdAt"`
	UpdatedAt time.Time          `json:"updatedAt"`
}

// accountOf shows an account as it is at a time. Times that the database has are in UTC already.
func (a *API) accountOf(row store.Account, now time.Time) account {
	state, why := connection.StateOf(row, now)
	return account{
		ID:                row.ID,
		ProfileID:         stringOrNull(row.ProfileID),
		Platform:          row.Platform,
		PlatformAccountID: row.PlatformAccountID,
		DisplayName:       stringOrNull(row.DisplayName),
		TokenExpiresAt:    timeOrNull(row.TokenExpiresAt),
		State:             state,
		Problem:           why,
		Warnings:          a.connecting.Notices(row.Platform),
		CreatedAt:         row.CreatedAt,
		UpdatedAt:         row.UpdatedAt,
	}
}

// accounts is a page of accounts, and of what others can be connected: a client that has none to show asks for some.
type accounts struct {
	endpoint.Page[account]
	Platforms []offer `json:"platforms" doc:"Every platform there is, and how an account of it is connected here."`
}

// offer is what this server does with a platform.
type offer struct {
	Platform platform.Name `json:"platform"`
	Enabled  bool          `json:"enabled" doc:"false: this server is not set up for it; its log says what is missing."`
	Methods  []string      `json:"methods" enum:"credentials,oauth" doc:"How an account is connected: credentials, or oauth for a browser. The first is what you get without a method."`
}

// offers are this server's, the same for everybody.
func (a *API) offers() []offer {
	all := make([]offer, 0, len(catalog.All))
	for _, o := range a.connecting.Offers() {
		shown := offer{Platform: o.Name, Enabled: o.Connector != nil, Methods: []string{}}
		if o.ByCredentials {
			shown.Methods = append(shown.Methods, platform.ByCredentials)
		}
		if o.ByBrowser {
			shown.Methods = append(shown.Methods, platform.ByOAuth)
		}
		all = append(all, shown)
	}
	return all
}

// stateParam chooses accounts by how they stand. Those that were disconnected are a list of their own: it has an order
// and an end of its own.
var stateParam = endpoint.Parameter{
	Name: "state", List: true, Values: texts(connection.States...),
	Description: fmt.Sprintf("Only accounts in these states. disconnected is asked for alone: in place of the connected "+
		"accounts, those that were disconnected within %d days and are not connected again, the last ones first. "+
		"updatedAt says when.", store.DisconnectedRetention/(24*time.Hour)),
}

var errGoneAndThere = problem.NewInvalid(stateParam.Name, "state has disconnected and another state.",
	"Ask for state=disconnected alone: accounts that were disconnected are a list of their own. "+
		"For all connected accounts leave state out.")

// accountFilter is what is asked for with stateParam.
type accountFilter struct {
	states []connection.State // nil: of all that are connected
	gone   bool               // of those that were disconnected
}

func readAccountFilter(query url.Values) (f accountFilter, err error) {
	names, err := endpoint.ListParam(query, stateParam.Name, stateParam.Values)
	for _, name := range names {
		f.states = append(f.states, connection.State(name))
	}
	f.gone = slices.Contains(f.states, connection.Disconnected)
	if f.gone && len(f.states) > 1 {
		return f, errGoneAndThere
	}
	return f, err
}

// listAccounts shows all accounts at once unless a limit is sent: the reference's SDK knows of no second page. Tokens
// that have expired are listed too: the account is still connected, and is to be renewed.
//
// Accounts are chosen and shown by one time, to the microsecond, as the database has it: none is in the list of a state
// that it is not shown in.
func (a *API) listAccounts(r *endpoint.Request) (accounts, error) {
	var view *store.View
	var filter accountFilter
	now := a.now()
	page, err := endpoint.Listed[store.Account, account]{
		Position: func(row store.Account) store.Position {
			if filter.gone {
				return store.Position{At: row.DisconnectedAt, ID: row.ID}
			}
			return store.Position{At: row.CreatedAt, ID: row.ID}
		},
		Show: func(row store.Account) account { return a.accountOf(row, now) },
	}.Rows(r, func(query url.Values) (err error) {
		if filter, err = readAccountFilter(query); err != nil {
			return err
		}
		view, err = a.viewOfQuery(r, query)
		return err
	}, func(page store.Page) ([]store.Account, bool, error) {
		switch {
		case filter.gone:
			return view.Disconnected(r.Context(), page)
		case filter.states != nil:
			return view.AccountsBy(r.Context(), connection.In(filter.states, now), page)
		}
		return view.Accounts(r.Context(), page)
	})
	return accounts{page, a.offers()}, err
}

// getAccount answers 404 for an account of another profile or organization, as for one that never was: the view reaches
// none of them.
func (a *API) getAccount(r *endpoint.Request) (account, error) {
	found, err := r.View().Account(r.Context(), r.Param())
	if err != nil {
		return account{}, posting.OrNotFound(err, posting.ErrNoAccount)
	}
	return a.accountOf(found, a.now()), nil
}

// deleted is what is left of a thing that was deleted. It is a 200 with a body and no 204: the reference's SDK reads
// it.
type deleted struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted" enum:"true"`
}

func deletedOf(id string) deleted { return deleted{id, true} }

// disconnected is what is left of an account that was disconnected. From here on its id leads nowhere, as the
// reference's; the list that is asked for with state=disconnected has it for a while.
type disconnected struct {
	deleted
	State string `json:"state" enum:"disconnected"`
}

// disconnectAccount answers a second request with 404: whoever is not sure that the first one arrived sends an
// Idempotency-Key.
func (a *API) disconnectAccount(r *endpoint.Request, _ endpoint.Nothing) (gone disconnected, err error) {
	err = a.connecting.Disconnect(r.Context(), r.Operation(), r.View(), r.Param(),
		endpoint.Answer(r, endpoint.OK(func(id string) disconnected {
			gone = disconnected{deletedOf(id), string(connection.Disconnected)}
			return gone
		})))
	return gone, err
}
