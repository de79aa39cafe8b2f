// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	// refreshWithin bounds the platform's answer to a refresh.
	refreshWithin = 30 * time.Second
	// renewWithin is how long a process has an account to itself: a process that dies is waited for as long. It is longer
	// than a refresh with all that is stored after it may take, since two refreshes at once may end the session.
	// refreshWithin and storeWithin together are less than this, and have to be: also with the ten seconds by which
	// Bluesky's refreshGrant may outlast the first, to get an answer that it can't do without.
	renewWithin = 2 * time.Minute
	// storeWithin is how long it is tried to store what a refresh has brought, which nobody else has.
	storeWithin = time.Minute
	// dueAtOnce and refreshAtOnce bound one look: how many accounts it takes, and how many of them at a time. A server
	// that never answers has one of the places for refreshWithin: whoever comes to be due during a look at nothing but
	// such servers waits for dueAtOnce / refreshAtOnce times that, and then comes before all but one of each organization.
	dueAtOnce     = 20
	refreshAtOnce = 4
	countEvery    = time.Minute
)

// refreshRetries are the pauses after refreshes that have failed for reasons that pass.
// The first is defaultInterval: whoever is due any sooner is not seen before the next look.
var refreshRetries = retry.Backoff{First: 15 * time.Second, Most: 15 * time.Minute}

// waiting is how often is looked whether another process is through with a refresh.
// Nothing here bounds the waiting. The context of whoever waits does: a process that has died at a refresh keeps the
// account for renewWithin, and an attempt to publish does not last that long.
var waiting = retry.Backoff{First: 50 * time.Millisecond, Most: time.Second}

// credentials are those of one account, for one publication. The lock is kept while a platform is asked: a
// publication that sends several files at once renews once.
type credentials struct {
	keeper *Keeper

	mu      sync.Mutex
	now     store.Connection // that secrets are of
	secrets platform.Secrets
}

// current returns the connection that the secrets were last read of.
func (c *credentials) current() store.Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Get is platform.Credentials'. What should have been refreshed by now is refreshed first; if that fails, the platform
// may still take the old ones. The error is a *platform.Failure with CodeAuthFailed, or comes of the end of ctx.
func (c *credentials) Get(ctx context.Context) (platform.Secrets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.now.RefreshAt; !at.IsZero() && !c.keeper.o.Clock.Now().Before(at) {
		var failure *platform.Failure
		switch err := c.renew(ctx); {
		case errors.As(err, &failure) && failure.Code == platform.CodeAuthFailed:
			return nil, err
		case err != nil && ctx.Err() != nil:
			return nil, err
		}
	}
	// A copy. It comes back as what is stale (Renew), and is compared with what is here: whoever has it must not change
	// both by changing one.
	return maps.Clone(c.secrets), nil
}

// Renew is platform.Credentials'. stale is what the platform has just refused.
func (c *credentials) Renew(ctx context.Context, stale platform.Secrets) (platform.Secrets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Others than these are older: another part of the same publication has renewed them meanwhile.
	if maps.Equal(stale, c.secrets) {
		if err := c.renew(ctx); err != nil {
			return nil, err
		}
	}
	return maps.Clone(c.secrets), nil
}

// renew replaces the secrets by newer ones: those that somebody else has got meanwhile, or others from the platform. It
// waits for whoever is at it, and never asks beside them: a refresh token that is used twice may end the session. The
// caller has the lock.
func (c *credentials) renew(ctx context.Context) error {
	var next *store.Connection
	err := waiting.Until(ctx, func(ctx context.Context) (err error) {
		next, err = c.keeper.renew(ctx, c.now)
		return err
	}, func(err error) bool { return errors.Is(err, errBusy) })
	if err != nil {
		return err
	}
	// Also what was renewed here comes out of the row, and not out of the answer: somebody may have connected the account
	// again in between, and then what they have brought counts (keep).
	secrets, err := c.keeper.open(*next)
	switch {
	case neverOpens(err):
		return c.keeper.closed(ctx, *next, err)
	case err != nil:
		return err
	}
	c.now, c.secrets = *next, secrets
	return nil
}

// errNoRefresher says that this server does not refresh what opens accounts of the platform.
var errNoRefresher = errors.New("the platform is not enabled here")

// errBusy says that another process refreshes the account.
var errBusy = errors.New("the account is being refreshed")

// renew returns a newer connection than old. The error is errBusy, a *platform.Failure, the vault's, or the database's.
// Between old and now anybody may have changed the account, so what counts is what its row says now.
func (k *Keeper) renew(ctx context.Context, old store.Connection) (*store.Connection, error) {
	now, err := k.work.Connection(ctx, old.ID)
	switch {
	case err != nil:
		return nil, err
	case now.Version != old.Version:
		return &now, nil
	case now.Reconnect != nil: // somebody else has tried
		return nil, again(*now.Reconnect)
	}
	p, _ := k.o.Platforms.Get(now.Platform)
	if p.Refresher == nil {
		return nil, again(platform.Failure{Message: "The platform takes the connection no more."})
	}
	// With the version that was just read: whoever has renewed it since then has changed that, and nothing is begun.
	begun, err := k.work.BeginRenewal(ctx, now.ID, now.Version, renewWithin)
	if err != nil {
		return nil, err
	}
	if !begun {
		return nil, errBusy
	}
	// From here on it is seen through, whoever waits for it: half a refresh may cost the account.
	return k.refresh(context.WithoutCancel(ctx), p, now)
}

// refresh asks the platform for newer secrets and stores them before anything else. An account whose secrets never open
// again is closed: as long as it is tried on, nobody is asked to connect it. The caller has begun the renewal. It is
// ended here, or else by its time (renewWithin).
func (k *Keeper) refresh(ctx context.Context, p platform.Platform, c store.Connection) (*store.Connection, error) {
	secrets, err := k.open(c)
	var got platform.Refreshed
	if err == nil {
		within, cancel := context.WithTimeout(ctx, refreshWithin)
		defer cancel()
		got, err = p.Refresher.Refresh(within, platform.Account{
			ID: c.ID, Platform: c.Platform, PlatformAccountID: c.PlatformAccountID,
		}, secrets)
	}
	// Also what did not open: no platform was asked, but the account was not refreshed either.
	k.metrics.renewed(c.Platform, err)
	var failure *platform.Failure
	switch {
	case neverOpens(err):
		return nil, k.closed(ctx, c, err)
	case errors.As(err, &failure) && failure.Code == platform.CodeAuthFailed:
		k.require(ctx, c, *failure)
		return nil, again(*failure)
	case err != nil:
		_ = k.postpone(ctx, c, err) // if that fails, it ends by its time
		return nil, err
	}
	return k.keep(ctx, c, got)
}

// postpone ends a refresh that may go better another time. It also ends the renewal, so that nobody waits for
// renewWithin. The error is the database's, which has been logged.
func (k *Keeper) postpone(ctx context.Context, c store.Connection, why error) error {
	pause := refreshRetries.Most
	// First doubled six times is past Most, and a shift by any number of tries would overflow.
	if c.Tries < 10 {
		pause = min(refreshRetries.First<<c.Tries, refreshRetries.Most)
	}
	k.o.Logger.Warn("an account could not be refreshed, trying on",
		"account", c.ID, "platform", c.Platform, "again in", pause.String(), "error", why)
	if err := k.work.PostponeRenewal(ctx, c.ID, c.Version, k.o.Clock.Now().Add(pause)); err != nil {
		k.o.Logger.Warn("a refresh could not be put off: it is tried again when its time is over",
			"account", c.ID, "error", err)
		return err
	}
	return nil
}

// storing is how a database that is away is tried again, with secrets that are nowhere else.
var storing = retry.Backoff{First: 100 * time.Millisecond, Most: 5 * time.Second}

// keep stores what a refresh has brought.
//
// It has its own time, apart from the platform's: what that has given is nowhere else, and the old ones may be
// worthless.
func (k *Keeper) keep(ctx context.Context, c store.Connection, got platform.Refreshed) (*store.Connection, error) {
	sealed, err := k.Seal(c.Organization, c.ID, got.Secrets)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	stored := false
	err = storing.Until(ctx, func(ctx context.Context) (err error) {
		stored, err = k.work.EndRenewal(ctx, c.ID, c.Version, sealed, got.RefreshAt, got.ExpiresAt)
		return err
	}, func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	if err != nil {
		k.o.Logger.Error("what a refresh has brought could not be stored: the account may have to be connected again",
			"account", c.ID, "error", err)
		return nil, fmt.Errorf("store what a refresh has brought: %w", err)
	}
	// Not stored: somebody has connected the account again meanwhile, or a commit was told as failed that was none. In
	// both cases what is stored is what counts.
	_ = stored
	next, err := k.work.Connection(ctx, c.ID)
	return &next, err
}

// Run refreshes what is due, counts connections, and tells platforms of those that were disconnected, until ctx ends. A
// refresh that has begun is seen through.
func (k *Keeper) Run(ctx context.Context) {
	var goodbyes sync.WaitGroup
	goodbyes.Go(func() { k.sayGoodbyes(ctx) })
	defer goodbyes.Wait()
	// Not before the database is migrated: its tables may not be there, or be those of an older release.
	select {
	case <-ctx.Done():
		return
	case <-k.o.Store.Migrated():
	}
	var complaint retry.Complaint
	// The zero time, so that the first look counts: until then the gauge has no accounts at all.
	for counted := (time.Time{}); ; {
		err := k.look(ctx)
		// More seldom, as it goes through all accounts that there are.
		if now := k.o.Clock.Now(); err == nil && now.Sub(counted) >= countEvery {
			counted, err = now, k.count(ctx)
		}
		if err == nil {
			complaint.Clear()
		} else if ctx.Err() == nil && complaint.Due(err.Error(), k.o.Clock.Now()) {
			k.o.Logger.Warn("accounts could not be looked after, trying on", "error", err)
		}
		if !retry.Pause(ctx, k.o.Interval) {
			return
		}
	}
}

// look refreshes the accounts that are due, until none is. Whatever was looked at is not due any more: it was
// refreshed, put off, asked of its person, or is in other hands. Else this would not end.
func (k *Keeper) look(ctx context.Context) error {
	// Without a keyset none of them opens, and each would be put off for what is wrong here (postpone): when it is mended,
	// they would not be due for up to a quarter of an hour.
	if !k.Usable() {
		return nil // the vault says so itself
	}
	for before := []string(nil); ctx.Err() == nil; {
		due, err := k.work.DueRenewals(ctx, k.o.Clock.Now(), dueAtOnce)
		if err != nil {
			return fmt.Errorf("list accounts to refresh: %w", err)
		}
		// Why they still are has been logged: what was to put them off could not be written.
		if len(due) > 0 && slices.Equal(due, before) {
			return errors.New("accounts that were looked at are still due")
		}
		before = due
		var running errgroup.Group
		running.SetLimit(refreshAtOnce)
		for _, id := range due {
			running.Go(func() error {
				if ctx.Err() != nil {
					return nil
				}
				return k.refreshDue(ctx, id)
			})
		}
		// What goes wrong with one does not end the others. If the database takes no writes, all of these are still due.
		if err := running.Wait(); err != nil {
			return err
		}
		if len(due) < dueAtOnce {
			return nil
		}
	}
	return ctx.Err()
}

// refreshDue refreshes one account, unless another process is at it. What other processes have done since the list
// was read is seen in the row. The error is the database's, which may not have taken what puts the account off: it may
// be due as before.
func (k *Keeper) refreshDue(ctx context.Context, accountID string) error {
	c, err := k.work.Connection(ctx, accountID)
	if err == nil && (c.RefreshAt.IsZero() || c.RefreshAt.After(k.o.Clock.Now())) {
		return nil // somebody was quicker
	}
	if p, _ := k.o.Platforms.Get(c.Platform); err == nil && p.Refresher == nil {
		// It may be enabled again. Without a pause the account would be due at once, for ever.
		return k.postpone(ctx, c, errNoRefresher)
	}
	if err == nil {
		_, err = k.renew(ctx, c)
	}
	if errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("refresh the account %s: %w", accountID, err)
	}
	// Failures of the platform were logged where they came up.
	if err != nil && !errors.Is(err, errBusy) && !errors.As(err, new(*platform.Failure)) && ctx.Err() == nil {
		k.o.Logger.Warn("an account could not be refreshed", "account", accountID, "error", err)
	}
	return nil
}
