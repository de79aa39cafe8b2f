// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var (
	errNoFlight   = errors.New("commit: the context is not of an accepted request")
	errFlightOver = errors.New("commit: the request has been answered already")
)

// Commit is the one point at which a request's write is either refused, and nothing is left behind, or done. ctx is, or
// comes from, the request's Flight.Context.
//
// If the flight has been cut, or what it was admitted with, or the replica, turns out to be no longer good by a fresh
// look, the error is what Flight.Err says, and write is not called. Otherwise write runs, with a context that no
// revocation ends any more, but which is bounded by Options.CommitTimeout. It must heed that one: a key is not
// confirmed as revoked while a write of it runs. The error is then write's. If there is none, the write is committed,
// and End will not take it back.
func Commit(ctx context.Context, write func(context.Context) error) error {
	f, ok := ctx.Value(flightKey{}).(*Flight)
	if !ok {
		return errNoFlight
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// Its time counts from before the look at clock and fence: a process that is stopped in between has less of it left.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.authenticator.commitTimeout)
	defer cancel()
	if err := f.beginCommit(); err != nil {
		return err
	}
	// Deferred, so that a write that panics does not hold up the revocation of its key for ever.
	committed := false
	defer func() { f.endCommit(committed) }()
	err := write(bounded)
	committed = err == nil
	return err
}

// beginCommit takes the flight past its commit point, or says why not.
func (f *Flight) beginCommit() error {
	err := f.refusal(f.authenticator.clock.Now())
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.ended {
		return errFlightOver
	}
	f.cutIf(err)
	if f.cut != nil {
		return f.cut
	}
	f.commits++
	if f.session == nil {
		// Under the shard's lock, which whoever cuts this flight takes before asking committing: they are refused here, or
		// counted there.
		f.authenticator.index.flights.countCommits(f.identity.Key.ID(), 1)
	}
	return nil
}

// endCommit counts the write down, and tells whoever waits for the last one of its key.
func (f *Flight) endCommit(committed bool) {
	err := f.refusal(f.authenticator.clock.Now())
	f.shard.mu.Lock()
	f.commits--
	f.committed = f.committed || committed
	f.cutIf(err) // and what was put off while the write ran
	f.shard.mu.Unlock()
	if f.session != nil {
		return // nobody waits for the writes of a person: no deletion ends them
	}
	x := f.authenticator.index
	x.endCommitOf(f.identity.Key.ID())
	// The write is counted down first, and only then is the key looked at. Whoever revokes a key changes the index first
	// and asks committing afterwards. If they were told to wait, they asked before the count went down, so the key was
	// revoked by then, and this look sees it. The other way round, a revocation between look and count would never be
	// told that it need not wait any more.
	if f.identity.Key.refusal(time.Time{}) != nil {
		x.commitsOver()
	}
}

// committing tells whether the key with this UID has a write past its commit point. While it has, its revocation must
// not be confirmed. Once the key is no longer served, no further write begins; whenever one of it ends, commitsOver is
// called.
func (x *Index) committing(id types.UID) bool {
	x.flights.commitsMu.Lock()
	defer x.flights.commitsMu.Unlock()
	return x.flights.commits[id] > 0
}

// endCommitOf counts down a write of a key, or what counts as one, and does what has waited for the last of them.
func (x *Index) endCommitOf(id types.UID) {
	if next := x.flights.countCommits(id, -1); next != nil {
		next()
	}
}

// countCommits counts writes of a key up or down. If the last one is over and something has waited for that, it is
// returned to be called, and counts as a write from now on: in between, the key must not seem to have none.
func (fs *flights) countCommits(id types.UID, n int) (next func()) {
	fs.commitsMu.Lock()
	defer fs.commitsMu.Unlock()
	n += fs.commits[id]
	if n == 0 {
		if next = fs.waiting[id]; next != nil {
			delete(fs.waiting, id)
			n = 1
		}
	}
	if n == 0 {
		delete(fs.commits, id)
	} else {
		fs.commits[id] = n
	}
	return next
}

// afterCommits calls do when the key with this UID has no write past its commit point, which is now or when the last of
// them ends. From now on, and while do's own work lasts, it counts as one itself: whoever does it calls endCommitOf.
func (fs *flights) afterCommits(id types.UID, do func()) {
	fs.commitsMu.Lock()
	idle := fs.commits[id] == 0
	if idle {
		fs.commits[id] = 1
	} else {
		fs.waiting[id] = do
	}
	fs.commitsMu.Unlock()
	if idle {
		do()
	}
}
