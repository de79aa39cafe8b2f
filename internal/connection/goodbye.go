// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

const (
	// goodbyesAtOnce is how many accounts that were disconnected wait for their platform to be told. Beyond that nobody
	// is: what they were opened by is deleted here, and expires there by itself.
	goodbyesAtOnce = 100
	// goodbyeWithin bounds what one platform takes for it, and what the end of a process waits for all of them.
	goodbyeWithin = 10 * time.Second
)

// goodbye is what a platform is told of one account.
type goodbye struct {
	to   platform.Platform
	of   platform.Account
	with platform.Secrets
}

// Disconnecting prepares that an account's platform takes what opened it no more. It is asked before the account is
// deleted, for nothing is left to read afterwards; what it returns is to be called once that has been done. Nobody
// waits for the platform, and where there is nothing to give back, nothing is done.
func (k *Keeper) Disconnecting(ctx context.Context, accountID string) (done func()) {
	c, err := k.work.Connection(ctx, accountID)
	if err != nil {
		return func() {} // whoever deletes the account finds out by themselves
	}
	untold := func() { k.disconnected(c.Platform, impossible) }
	p, _ := k.o.Platforms.Get(c.Platform)
	if p.Revoker == nil {
		return untold
	}
	secrets, err := k.open(c)
	if err != nil {
		return untold
	}
	g := goodbye{to: p, with: secrets, of: platform.Account{
		ID: c.ID, Platform: c.Platform, PlatformAccountID: c.PlatformAccountID,
	}}
	return func() {
		select {
		case k.goodbyes <- g:
		default:
			untold()
			k.o.Logger.Warn("too many accounts are disconnected at once: the platform was not told of one", "account", c.ID)
		}
	}
}

// sayGoodbyes tells platforms until ctx ends, and then of those that are left. Whoever is told at that moment is not
// cut off, but has no more time than all that are left.
func (k *Keeper) sayGoodbyes(ctx context.Context) {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	context.AfterFunc(ctx, func() { time.AfterFunc(goodbyeWithin, end) })
	for {
		select {
		case g := <-k.goodbyes:
			k.say(last, g)
		case <-ctx.Done():
			for {
				select {
				case g := <-k.goodbyes:
					k.say(last, g)
				default:
					return
				}
			}
		}
	}
}

// say tells one platform. That it could not be told is worth a line and no more.
func (k *Keeper) say(ctx context.Context, g goodbye) {
	ctx, cancel := context.WithTimeout(ctx, goodbyeWithin)
	defer cancel()
	err := g.to.Revoker.Revoke(ctx, g.of, g.with)
	if err == nil {
		k.disconnected(g.of.Platform, revoked)
	} else {
		k.disconnected(g.of.Platform, refused)
		k.o.Logger.Warn("a platform could not be told that an account was disconnected: what opened it expires by itself",
			"account", g.of.ID, "platform", g.of.Platform, "error", err)
	}
}
