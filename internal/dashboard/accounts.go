// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// accountsScreens are about what is published to. No account can be called "-", so the list below that name hides none.
func (d *Dashboard) accountsScreens() []screen {
	return []screen{
		{Method: http.MethodGet, Path: "/accounts", Show: d.accounts},
		{Method: http.MethodGet, Path: "/accounts/-/disconnected", Show: d.disconnectedAccounts},
		{Method: http.MethodGet, Path: "/accounts/{id}", Show: d.account},
		{Method: http.MethodGet, Path: "/accounts/{id}/disconnect", Show: d.accountToDisconnect},
		{Method: http.MethodPost, Path: "/accounts/{id}/disconnect", Show: d.disconnectAccount},
	}
}

// accountsOnPage is how many a page has, of those that were disconnected as well.
const accountsOnPage = 50

// accountStates are how an account stands, for people. Those that were disconnected have a list of their own.
var accountStates = map[connection.State]struct{ Class, Text, Next string }{
	connection.Active:            {"good", "accounts.active", "accounts.activeNext"},
	connection.Expiring:          {"warn", "accounts.expiring", "accounts.expiringNext"},
	connection.ReconnectRequired: {"bad", "accounts.reconnect", "accounts.reconnectNext"},
}

// accountRow is an account, and how it stands.
type accountRow struct {
	store.Account
	Name string
	// Profile is what people call it. Name and Profile are ids where there is no name: of an account to which its
	// platform gives none, and of a Profile that is gone.
	Profile string
	// Class is that of the badge; Text and Next are keys of texts: how it stands, and what to do about that.
	Class, Text, Next string
	Why               *platform.Failure // why it has to be connected again; nil: it has not
	Notices           []platform.Warning
}

func (r *request) accountRow(a store.Account, profiles []*caller.Profile) accountRow {
	state, why := connection.StateOf(a, r.now)
	shown := accountStates[state]
	row := accountRow{
		Account: a, Name: a.DisplayName, Profile: profileName(profiles, a.ProfileID),
		Class: shown.Class, Text: shown.Text, Next: shown.Next, Why: why,
		Notices: r.dashboard.config.Connecting.Notices(a.Platform),
	}
	if row.Name == "" {
		row.Name = a.PlatformAccountID
	}
	return row
}

type accountsData struct {
	Profile     string // that the list is narrowed to; ""
	Profiles    []*caller.Profile
	Accounts    []accountRow
	Notices     []platform.Warning // of the platforms that they are of
	First, Next string             // queries of other pages; ""
	// Offers are the platforms that the person may connect an account of here.
	Offers []connecting.Offer
}

// accounts lists those that are connected. The list lies in the database, so the right to see it is asked for by
// itself (may); what can be done from there is only offered (offers).
func (d *Dashboard) accounts(r *request) (view, error) {
	if err := r.may("list", "accounts"); err != nil {
		return view{}, err
	}
	query := r.http.URL.Query()
	data := accountsData{
		Profile: cut(query.Get("profile"), maxNamed), Profiles: d.config.Directory.Profiles(r.Caller()),
	}
	switch may, err := r.offers("create", "accounts"); {
	case err != nil:
		return view{}, err
	case may:
		// Offers has every platform that there is. One that this server is not set up for would lead to a refusal.
		data.Offers = slices.DeleteFunc(d.config.Connecting.Offers(), func(o connecting.Offer) bool {
			return !o.ByCredentials && !o.ByBrowser
		})
	}
	// By the id, whether or not there is such a Profile: accounts stay when theirs is deleted, and are found by it.
	of, values := r.rows(), url.Values{}
	if data.Profile != "" {
		of = of.Within(data.Profile)
		values.Set("profile", data.Profile)
	}
	after := positionOf(query.Get("after"))
	accounts, more, err := of.Accounts(r.Context(), store.Page{After: after, Limit: accountsOnPage})
	if err != nil {
		return view{}, err
	}
	for _, a := range accounts {
		row := r.accountRow(a, data.Profiles)
		data.Accounts = append(data.Accounts, row)
		// What a platform has to say is the same for all of its accounts, and is said once above the list.
		for _, n := range row.Notices {
			if !slices.Contains(data.Notices, n) {
				data.Notices = append(data.Notices, n)
			}
		}
	}
	// A cursor leads on, and not back: every page has a way to the first one instead.
	if after != (store.Position{}) {
		data.First = "?" + values.Encode()
	}
	if more {
		last := accounts[len(accounts)-1]
		values.Set("after", endpoint.CursorOf(store.Position{At: last.CreatedAt, ID: last.ID}))
		data.Next = "?" + values.Encode()
	}
	return view{Page: "accounts", Title: "accounts.title", Data: data}, nil
}

// disconnectedData is what the list of accounts shows that were disconnected.
type disconnectedData struct {
	Accounts    []accountRow
	Days        int    // that they are remembered
	Connecting  bool   // the person may connect one again
	First, Next string // queries of other pages; ""
}

// disconnectedAccounts shows what there was, so that it can be connected again under the id that it had.
func (d *Dashboard) disconnectedAccounts(r *request) (view, error) {
	if err := r.may("list", "accounts"); err != nil {
		return view{}, err
	}
	may, err := r.offers("create", "accounts")
	if err != nil {
		return view{}, err
	}
	after := positionOf(r.http.URL.Query().Get("after"))
	accounts, more, err := r.rows().Disconnected(r.Context(), store.Page{After: after, Limit: accountsOnPage})
	if err != nil {
		return view{}, err
	}
	data := disconnectedData{Days: int(store.DisconnectedRetention / (24 * time.Hour)), Connecting: may}
	profiles := d.config.Directory.Profiles(r.Caller())
	for _, a := range accounts {
		data.Accounts = append(data.Accounts, r.accountRow(a, profiles))
	}
	if after != (store.Position{}) {
		// An empty query: this page's address, from the beginning.
		data.First = "?"
	}
	if more {
		// This list goes by when they were disconnected, and so does its cursor: by when they were connected, the next page
		// would begin at another place.
		last := accounts[len(accounts)-1]
		data.Next = "?after=" + url.QueryEscape(endpoint.CursorOf(store.Position{At: last.DisconnectedAt, ID: last.ID}))
	}
	return view{Page: "disconnected", Title: "disconnected.title", Data: data}, nil
}

// accountData is what the page of one account shows, and the one that asks whether it is to be disconnected.
type accountData struct {
	accountRow
	Queued        *store.Count // posts that would be canceled; nil: the person may not see them
	Disconnecting bool         // the person may do that
	Connecting    bool         // they may connect it again
	Once          string       // id of the form, see change
}

// accountData reads the account of the address, for its page and for the one that asks whether it is to be
// disconnected. Of somebody who may not see accounts, the error is a forbiddenError, whether there is such an account
// or not.
func (r *request) accountData() (data accountData, err error) {
	if err = r.may("get", "accounts"); err != nil {
		return data, err
	}
	a, err := r.rows().Account(r.Context(), r.http.PathValue("id"))
	if err != nil {
		return data, err
	}
	data.accountRow = r.accountRow(a, r.dashboard.config.Directory.Profiles(r.Caller()))
	data.Once = r.dashboard.config.NewRequestID()
	if data.Disconnecting, err = r.offers("delete", "accounts"); err != nil {
		return data, err
	}
	if data.Connecting, err = r.offers("create", "accounts"); err != nil {
		return data, err
	}
	data.Queued, err = r.counted("posts", func(ctx context.Context) (store.Count, error) {
		return r.rows().CountQueuedOf(ctx, a.ID)
	})
	return data, err
}

func (d *Dashboard) account(r *request) (view, error) {
	data, err := r.accountData()
	return view{Page: "account", Title: "account.title", Data: data}, err
}

// accountToDisconnect shows what goes with an account before it does.
func (d *Dashboard) accountToDisconnect(r *request) (view, error) {
	data, err := r.accountData()
	// Whoever is not offered it is told which right they lack. Of all others that is asked when they send the form, so
	// that to look costs them no request more.
	if err == nil && !data.Disconnecting {
		err = r.may("delete", "accounts")
	}
	return view{Page: "account-disconnect", Title: "accountDisconnect.title", Data: data}, err
}

// disconnectAccount asks for the right itself: of what lies in the database, the apiserver refuses nothing.
func (d *Dashboard) disconnectAccount(r *request) (view, error) {
	if err := r.may("delete", "accounts"); err != nil {
		return view{}, err
	}
	err := r.change(func(op *write.Operation) error {
		return d.config.Connecting.Disconnect(r.Context(), op, r.rows(), r.http.PathValue("id"), done)
	})
	if err != nil {
		return view{}, err
	}
	return told("/accounts", "notice.disconnected")
}
