// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
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
	State     connection.State   `json:"state" doc:"Whether posts go out by it. expiring: connect it again before tokenExpiresAt. reconnect_required: connect it again; what is queued for it waits for that."`
	Problem   *platform.Failure  `json:"problem,omitempty" doc:"Why the account has to be connected again."`
	Warnings  []platform.Warning `json:"warnings,omitempty" doc:"What the platform's part of this server noticed when the account was connected. In the answer to that alone."`
	CreatedAt time.Time          `json:"createdAt"`
	UpdatedAt time.Time          `json:"updatedAt"`
}

// accountOf shows an account as it is at a time. Times that the database has are in UTC already.
func accountOf(a store.Account, now time.Time) account {
	state, why := connection.StateOf(a, now)
	return account{
		ID:                a.ID,
		ProfileID:         stringOrNull(a.ProfileID),
		Platform:          a.Platform,
		PlatformAccountID: a.PlatformAccountID,
		DisplayName:       stringOrNull(a.DisplayName),
		TokenExpiresAt:    timeOrNull(a.TokenExpiresAt),
		State:             state,
		Problem:           why,
		CreatedAt:         a.CreatedAt,
		UpdatedAt:         a.UpdatedAt,
	}
}

// errNotEnabled is for a platform that there is and that this server has no connector of. It is no 404, because the
// name is right, and the same request works elsewhere.
var errNotEnabled = &problem.Problem{
	Kind: problem.Forbidden, Code: platform.CodeNotEnabled, Rule: "platform",
	Message:     "This server does not offer this platform yet.",
	Remediation: "Try it on the test environment, with a test key.",
}

// errVault is the operator's to mend; the log says what is wrong. Reading goes on meanwhile.
var errVault = &problem.Problem{
	Kind: problem.Unavailable, Code: problem.CodeUnavailable, Rule: "vault.unusable",
	Message:     "Accounts can't be connected at the moment: what opens them could not be kept.",
	Remediation: "Tell whoever runs the server, and try again later.",
}

// listAccounts shows all accounts at once unless a limit is sent: the reference's SDK knows of no second page. Tokens
// that have expired are listed too: the account is still connected, and is to be renewed.
func (a *API) listAccounts(r *endpoint.Request) (endpoint.Page[account], error) {
	var view *store.View
	return endpoint.Listed[store.Account, account]{
		Position: func(a store.Account) store.Position { return store.Position{At: a.CreatedAt, ID: a.ID} },
		Show:     func(row store.Account) account { return accountOf(row, a.now()) },
	}.Rows(r, func(query url.Values) (err error) {
		view, err = a.viewOfQuery(r, query)
		return err
	}, func(page store.Page) ([]store.Account, bool, error) { return view.Accounts(r.Context(), page) })
}

// getAccount answers 404 for an account of another profile or organization, as for one that never was: the view reaches
// none of them.
func (a *API) getAccount(r *endpoint.Request) (account, error) {
	found, err := r.View().Account(r.Context(), r.Param())
	if err != nil {
		return account{}, posting.OrNotFound(err, posting.ErrNoAccount)
	}
	return accountOf(found, a.now()), nil
}

// deleted is what is left of a thing that was deleted. It is a 200 with a body and no 204: the reference's SDK reads
// it.
type deleted struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted" enum:"true"`
}

// disconnectAccount takes the account's queued posts along: without an account they could only fail, one after the
// other, when their time comes. What it has published stays.
//
// The platform is told afterwards, and nobody waits for that: what opened the account is deleted here either way.
func (a *API) disconnectAccount(r *endpoint.Request, _ endpoint.Nothing) (deleted, error) {
	done := func() {}
	// Only of an account that the caller reaches: for all others there is nothing to prepare.
	if _, err := r.View().Account(r.Context(), r.Param()); err == nil && a.config.Connections != nil {
		done = a.config.Connections.Disconnecting(r.Context(), r.Param())
	}
	gone, err := deleteNamed(r, (*store.Tx).DeleteAccount)
	if err == nil {
		done()
	}
	return gone, posting.OrNotFound(err, posting.ErrNoAccount)
}

// deleteNamed deletes what the path's parameter names. A second request finds nothing and says so; whoever is not sure
// that the first one arrived sends an Idempotency-Key.
func deleteNamed(r *endpoint.Request, remove func(tx *store.Tx, id string) error) (deleted, error) {
	show := func(d deleted) deleted { return d }
	return write.Commit(r.Context(), r.Operation(), endpoint.Answer(r, endpoint.OK(show)),
		func(_ context.Context, tx *store.Tx) (deleted, error) {
			return deleted{r.Param(), true}, remove(tx, r.Param())
		})
}

// connectAccount is the body of a request to begin a connection. ProfileID is not stored: that there is such a profile
// is checked now, so that nobody finds out after a browser has been to the platform and back. maxBytes is what a body
// may have, so that an id that is too long is a 404 like any that does not exist.
type connectAccount struct {
	ProfileID *string `json:"profileId,omitempty" maxBytes:"1048576" doc:"The profile that the account is to belong to."`
	ReturnTo  string  `json:"returnTo,omitempty" doc:"Where a browser goes in the end, for platforms that are connected in one."`
}

// begunConnection tells how an account is connected: what to ask somebody for, by what words, and where it may be
// tried. A client needs to know no platform to show the form. State says how far the platform lets accounts be
// connected at all; a client shows it before somebody looks for a password.
type begunConnection struct {
	Platform   platform.Name            `json:"platform"`
	State      platform.ConnectionState `json:"state" enum:"stable,trial,pending"`
	Descriptor platform.Descriptor      `json:"descriptor"`
}

// connectAccount begins a connection. Nothing is stored, so nothing is committed: the answer is all that an
// Idempotency-Key has to keep. The caller is told of a wrong profile before the platform is asked for anything.
func (a *API) connectAccount(r *endpoint.Request, in connectAccount) (begunConnection, error) {
	to, err := a.connectable(r.Param())
	if err != nil {
		return begunConnection{}, err
	}
	if _, err := a.profileFor(r, in.ProfileID); err != nil {
		return begunConnection{}, err
	}
	// What is no address has always been accepted and ignored; so it is until a platform needs one, and can refuse it.
	// Where it is an address it is passed on only after that check, so that no platform sends a browser to anywhere else
	// than a web page.
	returnTo, _ := platform.CheckReturnTo(in.ReturnTo)
	begun, err := to.Connector.Begin(r.Context(), platform.ConnectionRequest{ReturnTo: returnTo})
	if err != nil {
		return begunConnection{}, connectFailed(to.Name, err)
	}
	return begunConnection{to.Name, begun.State, begun.Descriptor}, nil
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
			put, created, err := tx.PutAccount(store.Account{
				// Of an account that is there already, id and creation time stay: see PutAccount.
				ID: a.config.NewID(), ProfileID: profileID, Platform: platform.Name(r.Param()),
				PlatformAccountID: c.PlatformAccountID, DisplayName: c.DisplayName,
				TokenExpiresAt: c.TokenExpiresAt, RefreshAt: c.RefreshAt, CreatedAt: now, UpdatedAt: now,
			})
			if err == nil && a.config.Connections != nil {
				err = a.keepSecrets(tx, put.ID, c.Secrets)
			}
			return connected{put, created, now, c.Warnings}, err
		})
	return put.show(), posting.OrNotFound(err, posting.ErrNoProfile)
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
