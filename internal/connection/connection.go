// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package connection keeps accounts connected: what opens them is sealed when it is stored, opened for whoever
// publishes, and refreshed before it expires, by one process at a time.
//
// When an account is to be refreshed next stands in its row, and every process looks for those that are due. So there
// is no chain of jobs that could break: whatever process dies, another one finds the row.
//
// connection.go seals what is about to be stored and opens it for a publication; renew.go has those refreshed that
// are due, and those that a publication finds refused; goodbye.go tells platforms of accounts that were disconnected;
// reseal.go seals again under another key. begun.go keeps what waits for a browser.
package connection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

// State is how far a connection is from its end.
type State string

// The states of accounts.
const (
	Active            State = "active"
	Expiring          State = "expiring"           // it ends soon unless its person connects it again
	ReconnectRequired State = "reconnect_required" // nothing can be published to it until its person has done so
	Disconnected      State = "disconnected"       // it is gone, and remembered for a while
)

// States lists them, for whoever documents them.
var States = []State{Active, Expiring, ReconnectRequired, Disconnected}

// ExpiringWithin is how long before its end a connection is expiring: long enough for somebody to be on holiday.
// docs/accounts.md names it.
// A grant on Bluesky lasts no longer than this altogether (sessionLife there): such an account is expiring from its
// first day on. Whoever makes this shorter changes that.
const ExpiringWithin = 14 * 24 * time.Hour

// RuleReconnect is the rule of failures of accounts that have to be connected again. Callers branch on it.
const RuleReconnect = "account.reconnect_required"

const reconnect = "Connect the account again. It keeps its id and what is queued for it."

// StateOf says where an account stands at a time, and why, if it has to be connected again. What the database lists
// and counts by goes by the same rule (standing, in package store), and has to stay in step.
func StateOf(a store.Account, now time.Time) (State, *platform.Failure) {
	switch {
	case !a.DisconnectedAt.IsZero():
		return Disconnected, nil
	// Before the date: it has the platform's own reason, and stands also where nothing expires.
	case a.Reconnect != nil:
		return ReconnectRequired, a.Reconnect
	case a.TokenExpiresAt.IsZero():
		return Active, nil
	case !now.Before(a.TokenExpiresAt):
		return ReconnectRequired, &platform.Failure{
			Code: platform.CodeAuthFailed, Message: "The connection has expired.", Rule: RuleReconnect,
			Remediation: reconnect,
		}
	case now.Add(ExpiringWithin).After(a.TokenExpiresAt):
		return Expiring, nil
	}
	return Active, nil
}

// stateOf is what the store's word for it is here. The zero Standing is that of an account that can be used.
func stateOf(s store.Standing) State {
	switch s {
	case store.Gone:
		return Disconnected
	case store.Ended:
		return ReconnectRequired
	case store.Ending:
		return Expiring
	}
	return Active
}

// In chooses accounts that StateOf says to be in one of these states at a time. Those that were disconnected are no
// accounts any more, and are found by store.View.Disconnected alone. The times are StateOf's.
func In(states []State, now time.Time) store.AccountFilter {
	return store.AccountFilter{
		Usable: slices.Contains(states, Active), Ending: slices.Contains(states, Expiring),
		Ended: slices.Contains(states, ReconnectRequired), Now: now, Soon: now.Add(ExpiringWithin),
	}
}

// Options are what a Keeper is made of. All are required except where they say otherwise.
type Options struct {
	Store      *store.DB
	Vault      *vault.Vault
	Platforms  platform.List
	Clock      clock.PassiveClock
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Interval is how often connections are looked for that are to be refreshed. Optional: 15 s.
	Interval time.Duration
}

// Keeper keeps what opens accounts. It is safe for concurrent use. Without Run, what is due is refreshed only when
// something is published, and no platform is told of a goodbye.
type Keeper struct {
	o        Options
	work     *store.Work
	metrics  metrics
	goodbyes *goodbyes
}

// defaultInterval is no longer than what is left of the shortest token that is believed when it is due: a quarter of a
// minute (shortGrantLife, package bluesky). Where it is late all the same, whoever publishes refreshes first (Get).
const defaultInterval = 15 * time.Second

// New returns a Keeper; the error is that of the metrics.
func New(o Options) (*Keeper, error) {
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	k := &Keeper{
		o: o, work: o.Store.Work(), metrics: newMetrics(), goodbyes: newGoodbyes(),
	}
	if err := k.metrics.register(o.Registerer, o.Platforms); err != nil {
		return nil, err
	}
	return k, nil
}

// Usable tells whether anything can be sealed and opened now. Whoever is about to ask a platform for secrets asks this
// first: it would be a pity to get them and not to be able to keep them. It may have changed a moment later, so Seal
// may fail all the same.
func (k *Keeper) Usable() bool {
	_, err := k.o.Vault.Keyset()
	return err == nil
}

// Seal seals what a platform gave for an account. The error names the account, and no secret. accountID is the row's:
// what is sealed opens for no other row. They are to be stored in one transaction with that row.
func (k *Keeper) Seal(organization, accountID string, secrets platform.Secrets) ([]store.SealedSecret, error) {
	sealed := make([]store.SealedSecret, 0, len(secrets))
	for name, text := range secrets {
		s, err := k.o.Vault.Seal([]byte(text), vault.Of{Organization: organization, Account: accountID, Name: name})
		if err != nil {
			return nil, fmt.Errorf("seal what opens the account: %w", err)
		}
		// It stands beside the text so that the database can tell what a key is still needed for, without opening anything.
		id, _ := vault.KeyID(s)
		sealed = append(sealed, store.SealedSecret{Name: name, KeyID: id, Sealed: s})
	}
	// In one order, so that two who write the same rows do not wait for each other.
	slices.SortFunc(sealed, func(a, b store.SealedSecret) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return sealed, nil
}

// open opens what Seal has sealed, all of it or nothing. The error is platform.ErrNoSecrets or the vault's.
func (k *Keeper) open(c store.Connection) (platform.Secrets, error) {
	if len(c.Secrets) == 0 {
		return nil, platform.ErrNoSecrets
	}
	// With one of them missing, the others would mean something else: a token without the key that it is bound to is shown
	// as one that needs none, and the account is taken for lost (isGrant, package bluesky).
	secrets := make(platform.Secrets, len(c.Secrets))
	for _, s := range c.Secrets {
		// The id of the key stands beside the text as well. Where they differ, one of them was tampered with: else a text
		// with a flipped bit there would pass for one that opens once its key is back.
		if id, ok := vault.KeyID(s.Sealed); !ok || id != s.KeyID {
			return nil, fmt.Errorf("account %s: %w", c.ID, vault.ErrTampered)
		}
		text, err := k.o.Vault.Open(s.Sealed, vault.Of{Organization: c.Organization, Account: c.ID, Name: s.Name})
		if err != nil {
			return nil, err
		}
		secrets[s.Name] = string(text)
	}
	return secrets, nil
}

// Open returns where the secrets of an account are. A failure says why the account can't be used, and what to do.
// Exactly one of the three is not nil. The error is the database's, store.ErrNotFound among them.
func (k *Keeper) Open(ctx context.Context, accountID string) (platform.Credentials, *platform.Failure, error) {
	c, err := k.work.Connection(ctx, accountID)
	if err != nil {
		return nil, nil, err
	}
	// Nothing is unsealed then, and no platform asked: only its person can help.
	if state, why := StateOf(c.Account, k.o.Clock.Now()); state == ReconnectRequired {
		return nil, again(*why), nil
	}
	secrets, err := k.open(c)
	switch {
	case neverOpens(err):
		return nil, k.closed(ctx, c, err), nil
	case err != nil: // the vault has no keyset, or not the right one
		k.o.Logger.Error("an account can't be opened", "account", c.ID, "error", err)
		return nil, &platform.Failure{
			Code: platform.CodeUnavailable, Rule: "vault.unusable",
			Message:     "This server can't open the account now, because its vault is not in order. Nothing was sent.",
			Remediation: "Tell whoever runs the server, and try again later.",
		}, nil
	}
	return &credentials{keeper: k, now: c, secrets: secrets}, nil, nil
}

// neverOpens tells of an error of open whether it stays, so that the account is closed. A key that is missing may come
// back, and so may a keyset: no account is given up for them.
func neverOpens(err error) bool {
	return errors.Is(err, platform.ErrNoSecrets) || errors.Is(err, vault.ErrTampered)
}

// closed is for an account that does not open any more, whatever anybody but its person does. What is stored stays
// until the account is connected again.
func (k *Keeper) closed(ctx context.Context, c store.Connection, err error) *platform.Failure {
	k.o.Logger.Error("what opens an account does not: it has to be connected again", "account", c.ID, "error", err)
	why := platform.Failure{
		Code: platform.CodeAuthFailed, Rule: RuleReconnect, Remediation: reconnect,
		Message: "What this server has kept to open the account is not usable.",
	}
	k.require(ctx, c, why)
	return again(why)
}

// again is a failure that sends people to connect the account again. Its code and rule are always these, whatever those
// of the platform were: callers branch on one rule for all platforms.
func again(why platform.Failure) *platform.Failure {
	return &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: RuleReconnect, PlatformResponse: why.PlatformResponse,
		Message:     "The account has to be connected again: " + why.Message,
		Remediation: reconnect,
	}
}

// Refused tells that the platform does not take an account's secrets any more. Those that somebody has put there
// meanwhile are not meant.
func (k *Keeper) Refused(ctx context.Context, with platform.Credentials, why platform.Failure) {
	if c, ok := with.(*credentials); ok {
		k.require(ctx, c.current(), why)
	}
}

// require asks for a reconnection, in the row: it is shown to whoever looks at the account. By c.Version: a person
// who has connected the account meanwhile is not asked to do so again.
func (k *Keeper) require(ctx context.Context, c store.Connection, why platform.Failure) {
	asked, err := k.work.RequireReconnect(ctx, c.ID, c.Version, why)
	switch {
	case err != nil:
		// The next attempt finds the same, and says it again.
		k.o.Logger.Warn("it could not be noted that an account has to be connected again", "account", c.ID, "error", err)
	case asked:
		k.o.Logger.Warn("an account has to be connected again", "account", c.ID, "platform", c.Platform, "rule", why.Rule)
	}
}
