// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package connecting is how somebody connects an account: by what they fill in, or in a browser that is sent to the
// platform and comes back; and how they disconnect it. It knows callers and not how they ask, so that a page with a
// form can use it as a route does. What it refuses is a *problem.Problem.
//
// The platform is always asked before the commit point and outside of the transaction: a slow one must hold up neither
// a revocation nor the database. If the caller ceases to be good meanwhile, it has been asked in vain.
package connecting

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// Options are what Connecting is made of. All are required except where they say otherwise.
type Options struct {
	// Platforms are this server's: accounts can be connected of those with a Connector.
	Platforms platform.List
	// Connections keep what opens accounts. Optional: without it nothing is kept, as in the sandbox.
	Connections *connection.Keeper
	// Public is where browsers reach this server. Optional: without it none is sent away, as none would come back.
	Public *url.URL
	// ReturnTo are the origins, such as https://app.example.com, that a browser may be sent on to once it has connected an
	// account; beside them, that of Public and, if that is a loopback address, every loopback address.
	ReturnTo []string
	NewID    func() string // a UUIDv7
	Random   io.Reader     // a CSPRNG
	Clock    clock.PassiveClock
}

// Connecting connects accounts. It keeps nothing between calls.
type Connecting struct{ o Options }

// New checks nothing: cmd/api makes the only one, of what it has made before.
func New(o Options) *Connecting { return &Connecting{o} }

// MaxFilledIn is how long a value may be that a platform asks for, in bytes.
const MaxFilledIn = 4 << 10

// within bounds what a platform takes for one step. Somebody waits for it, and the server's own time for a response has
// to be enough to say that the platform could not be asked.
const within = 15 * time.Second

var (
	// ErrNotEnabled is for a platform that there is and that this server has no connector of. It is no 404, because the
	// name is right, and the same request works elsewhere.
	ErrNotEnabled = &problem.Problem{
		Kind: problem.Forbidden, Code: platform.CodeNotEnabled, Rule: "platform",
		Message:     "This server is not set up for this platform.",
		Remediation: "Tell whoever runs the server, whose log says what is missing; or try it with a test key.",
	}
	// errNoMetadata is for platforms that whoever runs this server has to register it with.
	errNoMetadata = &problem.Problem{
		Kind: problem.NotFound, Code: problem.CodeNotFound, Rule: "platform",
		Message:     "This platform fetches no metadata of its clients here.",
		Remediation: "Nothing: whoever runs the server registers it with the platform, or its accounts are played.",
	}
	// ErrVault is the operator's to mend; the log says what is wrong. Reading goes on meanwhile.
	ErrVault = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable, Rule: "vault.unusable",
		Message:     "Accounts can't be connected at the moment: what opens them could not be kept.",
		Remediation: "Tell whoever runs the server, and try again later.",
	}
)

// Connectable returns a platform that accounts can be connected of, by the name that a caller gave it. The catalog is
// asked first, which has every platform that this program knows; Options.Platforms are those that this server offers. A
// name that exists nowhere is a typing error, and one that is not enabled here is this server's state; callers are told
// which.
func (c *Connecting) Connectable(name string) (platform.Platform, error) {
	if _, ok := catalog.All.Get(platform.Name(name)); !ok {
		return platform.Platform{}, posting.NoPlatform("platform")
	}
	p, _ := c.o.Platforms.Get(platform.Name(name))
	switch {
	case p.Connector == nil:
		return p, ErrNotEnabled
	// Before the platform is asked for anything: what it gives could not be kept.
	case c.o.Connections != nil && !c.o.Connections.Usable():
		return p, ErrVault
	}
	return p, nil
}

// IsKnownTo tells whether browsers find back here from a platform: one that fetches metadata takes not every address.
func (c *Connecting) IsKnownTo(p platform.Platform) bool {
	if c.o.Public == nil || p.ClientMetadata == nil {
		return c.o.Public != nil
	}
	_, err := p.ClientMetadata(c.CallbackURL(p.Name))
	return err == nil
}

// Metadata is the document by which a platform knows this server that fetches it: JSON. The error is a problem: there
// is no such platform, or it fetches none.
func (c *Connecting) Metadata(of platform.Name) (json.RawMessage, error) {
	if _, ok := catalog.All.Get(of); !ok {
		return nil, posting.NoPlatform("platform")
	}
	p, _ := c.o.Platforms.Get(of)
	switch {
	case p.ClientMetadata == nil:
		return nil, errNoMetadata
	case c.o.Public == nil:
		return nil, ErrNoAddress
	}
	document, err := p.ClientMetadata(c.CallbackURL(of))
	if err != nil {
		return nil, Failed(of, err)
	}
	return document, nil
}

// TakesBrowsers tells whether a browser that comes back from a platform may be expected: what one left to be gone on
// with has to be kept.
func (c *Connecting) TakesBrowsers() bool { return c.o.Connections != nil }

// CallbackURL is where a platform sends browsers back to. Options.Public must be known.
func (c *Connecting) CallbackURL(of platform.Name) *url.URL {
	return c.o.Public.JoinPath("v1", "accounts", "oauth", string(of), "callback")
}

// Offer is how accounts of a platform are connected here.
type Offer struct {
	platform.Platform
	ByCredentials, ByBrowser bool // neither: this server is not set up for it
}

// Offers are this server's, of every platform there is, and the same for everybody.
func (c *Connecting) Offers() []Offer {
	all := make([]Offer, 0, len(catalog.All))
	for i := range catalog.All {
		o := Offer{Platform: catalog.All[i]}
		if p, _ := c.o.Platforms.Get(o.Name); p.Connector != nil {
			o.Platform, o.ByCredentials = p, len(p.Fields) > 0
			o.ByBrowser = (p.InBrowser || len(p.Fields) == 0) && c.IsKnownTo(p)
		}
		all = append(all, o)
	}
	return all
}

// Notices are what is to be known of a platform now, whichever account of it is looked at.
func (c *Connecting) Notices(of platform.Name) []platform.Warning { return c.o.Platforms.Notices(of) }

// Connected is an account that has been connected, and whether it is a new one. Only the transaction knows.
type Connected struct {
	store.Account
	Created  bool
	At       time.Time
	Warnings []platform.Warning
}

// Complete connects an account with what somebody has filled in, for a profile ("": the organization alone). What of it
// is secret goes to the platform and nowhere else: not into a log, an error or the database.
func (c *Connecting) Complete(
	ctx context.Context, op *write.Operation, to platform.Platform, profileID string, filledIn map[string]string,
	answer write.Answer[Connected],
) (Connected, error) {
	return c.complete(ctx, op, to, profileID, platform.ConnectionAnswer{Credentials: filledIn}, answer)
}

// complete asks the platform, and keeps what it gives.
func (c *Connecting) complete(
	ctx context.Context, op *write.Operation, to platform.Platform, profileID string, in platform.ConnectionAnswer,
	answer write.Answer[Connected],
) (Connected, error) {
	// Not in Commit's context, which a revocation would have to wait for.
	asking, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	got, err := to.Connector.Complete(asking, in)
	// Before the transaction, and not in it: an id that is too long is the platform's doing, and is told as that.
	if err == nil {
		got, err = got.Bounded()
	}
	if err != nil {
		return Connected{}, Failed(to.Name, err)
	}
	now := write.Now(c.o.Clock) // after the platform's answer: the connection is not older than that
	put, err := write.Commit(ctx, op, answer, func(_ context.Context, tx *store.Tx) (Connected, error) {
		return c.keep(tx, to.Name, profileID, got, now)
	})
	return put, posting.OrNotFound(err, posting.ErrNoProfile)
}

// keep stores an account that the platform has let us in to, with what opens it, sealed as the account's. The
// credentials themselves are stored nowhere.
func (c *Connecting) keep(
	tx *store.Tx, of platform.Name, profileID string, got platform.Connection, now time.Time,
) (Connected, error) {
	put, created, err := tx.PutAccount(store.Account{
		// Of an account that is there already, id and creation time stay: see PutAccount.
		ID: c.o.NewID(), ProfileID: profileID, Platform: of,
		PlatformAccountID: got.PlatformAccountID, DisplayName: got.DisplayName,
		TokenExpiresAt: got.TokenExpiresAt, RefreshAt: got.RefreshAt, CreatedAt: now, UpdatedAt: now,
	})
	if err == nil && c.o.Connections != nil {
		var sealed []store.SealedSecret
		// By the id of the row, which for an account that is there already is not the new one: what is sealed for another
		// id never opens.
		if sealed, err = c.o.Connections.Seal(tx.Organization(), put.ID, got.Secrets); err == nil {
			err = tx.PutSecrets(put.ID, sealed)
		}
	}
	return Connected{put, created, now, got.Warnings}, err
}

// Disconnect takes an account of the view away, with the posts that are queued for it: without an account they could
// only fail, one after the other, when their time comes. What it has published stays. answer is given the account's
// id.
//
// The platform is told afterwards, and nobody waits for that: what opened the account is deleted here either way. Not
// before, because as long as the account stays, what opens it has to stay good.
func (c *Connecting) Disconnect(
	ctx context.Context, op *write.Operation, view *store.View, id string, answer write.Answer[string],
) error {
	tell := func() {}
	// Only of an account that the caller reaches: for all others there is nothing to prepare.
	if _, err := view.Account(ctx, id); err == nil && c.o.Connections != nil {
		tell = c.o.Connections.Disconnecting(ctx, id)
	}
	_, err := write.Commit(ctx, op, answer, func(_ context.Context, tx *store.Tx) (string, error) {
		return id, tx.DeleteAccount(id)
	})
	if err == nil {
		tell()
	}
	return posting.OrNotFound(err, posting.ErrNoAccount)
}

// Failed turns a platform's refusal into what the caller is told. A mistake of ours stays the error that it is, so that
// its text is in the log and not in the answer. A *platform.Failure says whose fault it is by its code.
func Failed(name platform.Name, err error) error {
	var f *platform.Failure
	if !errors.As(err, &f) {
		return err
	}
	if p := f.Problem(name); p.Kind != problem.Internal {
		return p
	}
	return err
}
