// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/turns"
)

const (
	// mostGoodbyes is how many accounts that were disconnected wait for their platform to be told, and goodbyesOfOne how
	// many of one organization. Beyond that nobody is told: what they were opened by is deleted here, and expires there by
	// itself.
	mostGoodbyes  = 1000
	goodbyesOfOne = 100
	// goodbyesAtOnce is how many platforms are told at a time. Each may be a server of somebody's own that never answers.
	goodbyesAtOnce = 4
	// goodbyeWithin bounds what one platform takes for it, and what the end of a process waits for all of them.
	goodbyeWithin = 10 * time.Second
)

// goodbye is what a platform is told of one account. Its secrets are stored nowhere any more when it is said.
type goodbye struct {
	whose string // organization
	to    platform.Platform
	of    platform.Account
	with  platform.Secrets
}

// goodbyes are those that are to be said, of each organization in turn: one whose platforms take their time keeps
// nobody else's from being told. What is not said when a process dies is lost: a queue in the database would be one
// of tokens that were to be deleted.
type goodbyes struct {
	waiting chan struct{} // one for each

	mu sync.Mutex
	of turns.Queue[goodbye]
}

// newGoodbyes bounds all that wait by the size of waiting: add finds it full.
func newGoodbyes() *goodbyes {
	return &goodbyes{waiting: make(chan struct{}, mostGoodbyes)}
}

// add tells whether there is room for g. It never waits: whoever disconnects an account is about to be answered.
func (q *goodbyes) add(g goodbye) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.of.LenOf(g.whose) >= goodbyesOfOne {
		return false
	}
	// Before Push, and all of it under the lock: whoever receives at once finds the goodbye only after it was pushed
	// (next). The other way round, one that finds no room would have to be taken out again.
	select {
	case q.waiting <- struct{}{}:
	default:
		return false
	}
	q.of.Push(g.whose, g)
	return true
}

// next returns the one whose turn it is. Whoever calls it has received from waiting, so there is one.
func (q *goodbyes) next() goodbye {
	q.mu.Lock()
	defer q.mu.Unlock()
	g, _ := q.of.Pop()
	return g
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
	g := goodbye{whose: c.Organization, to: p, with: secrets, of: platform.Account{
		ID: c.ID, Platform: c.Platform, PlatformAccountID: c.PlatformAccountID,
	}}
	return func() {
		if !k.goodbyes.add(g) {
			untold()
			k.o.Logger.Warn("too many accounts are disconnected at once: the platform was not told of one", "account", c.ID)
		}
	}
}

// sayGoodbyes tells platforms until ctx ends, and then of those that are left. Whoever is told at that moment is not
// cut off, but has no more time than all that are left. It returns when the last has been told, or its time is over.
// Run waits for it.
func (k *Keeper) sayGoodbyes(ctx context.Context) {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	context.AfterFunc(ctx, func() { time.AfterFunc(goodbyeWithin, end) })
	var telling sync.WaitGroup
	defer telling.Wait()
	for range goodbyesAtOnce {
		telling.Go(func() {
			for k.sayNext(ctx, last) {
			}
		})
	}
}

// sayNext says one goodbye, and tells whether there may be more: until ctx ends, it waits for one. last outlives ctx:
// what is said takes its time by it.
func (k *Keeper) sayNext(ctx, last context.Context) bool {
	select {
	case <-k.goodbyes.waiting:
	case <-ctx.Done():
		// Of two that are ready, select takes either. So that ctx has ended does not mean that nobody waits.
		select {
		case <-k.goodbyes.waiting:
		default:
			return false
		}
	}
	k.say(last, k.goodbyes.next())
	return true
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
