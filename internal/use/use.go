// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package use knows what keys are used for: when last, and how many requests came with them. It is known across
// replicas and restarts, and costs a request next to nothing: each process counts in memory (package authn), a Keeper
// writes that down for many keys at once, each at most once a minute, and reads it back together with what is not
// written yet.
//
//   - a Keeper's Run is what writes. A process that is killed loses a minute at most, one that ends loses nothing
//   - its other methods are what pages and routes ask: LastUsed, Recent and Of
//
// Whatever they return is of keys that the caller sees, and of the caller's environment: the keys of the other one are
// used elsewhere, and their use is written down there.
//
// use.go writes, read.go reads, and metrics.go tells operators whether writing keeps up. The rows, and how long they
// are kept, are those of package store (store/use.go); the counters in memory are those of package authn
// (authn/use.go).
package use

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	// step is how often it is looked for keys that were used.
	step = 5 * time.Second
	// apart is how long after a key's use was written it is written again at the earliest.
	apart = time.Minute
	// batch is how many keys one transaction writes, and batches how many of those follow one another in a step. So there
	// are 4 transactions a second at most, and time for a quarter of a million keys a minute; beyond, each waits longer.
	batch   = 1000
	batches = 20
	// foldEvery and forgetEvery are how often rows that have become old are looked for, and keys that are gone.
	foldEvery   = time.Minute
	forgetEvery = time.Hour
	// unusedFor is how long a key that is gone must not have been used until its use is forgotten. It is much longer than
	// the index of any process is behind another's.
	unusedFor = time.Hour
	// lastWordWithin bounds what is still to be written when the process ends.
	lastWordWithin = 15 * time.Second
)

// Options are what a Keeper is made of. All are required except where they say otherwise.
type Options struct {
	Index       *authn.Index
	Store       *store.DB
	Environment key.Environment // whose keys are admitted
	// Replica is this process, as people are told of it. No other one has that name.
	Replica string
	// Complete tells whether Index knows every key by now: what it does not know is taken for gone.
	Complete func() bool
	// Partial says that Index knows the keys of some namespaces alone.
	Partial    bool
	Clock      clock.PassiveClock
	Logger     *slog.Logger
	Registerer prometheus.Registerer // optional
}

// Keeper keeps what keys were used for. Its methods can be used by any number of goroutines, but Run by one.
type Keeper struct {
	o       Options
	work    *store.Work
	waiting []waiter // Run's own
	batch   int      // batch, but in tests
	metrics metrics
}

// waiter is a key whose use is to be written, not before due.
type waiter struct {
	key *authn.Key
	due time.Time // zero: at once
}

// New returns a Keeper, which writes nothing before it is run, and has Index count: it is made before the first
// request. The error says what is missing.
func New(o Options) (*Keeper, error) {
	if o.Index == nil || o.Store == nil || o.Environment == "" || o.Replica == "" || o.Complete == nil ||
		o.Clock == nil || o.Logger == nil {
		return nil, errors.New("use: Index, Store, Environment, Replica, Complete, Clock and Logger are required")
	}
	k := &Keeper{o: o, work: o.Store.Work(), batch: batch, metrics: newMetrics()}
	if o.Registerer != nil {
		if err := k.metrics.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("register the metrics of use: %w", err)
		}
	}
	o.Index.CountUse()
	return k, nil
}

// Run writes until ctx ends, and then once more all that is not written. Whatever uses keys must have ended before.
// While the database is away, counts add up where they are, one for each key, and are written when it is back. Folding
// and forgetting have goroutines of their own, so that one that takes long does not hold up the counts. Both have ended
// before the last write.
func (k *Keeper) Run(ctx context.Context) {
	folded, forgotten := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(folded)
		k.every(ctx, foldEvery, "fold what keys were used for", k.fold)
	}()
	go func() {
		defer close(forgotten)
		k.every(ctx, forgetEvery, "forget the use of keys that are gone", k.forget)
	}()
	k.every(ctx, step, "write what keys were used for", func(ctx context.Context) error {
		return k.write(ctx, batches, false)
	})
	<-folded
	<-forgotten
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordWithin)
	defer cancel()
	if err := k.write(last, 0, true); err != nil {
		k.o.Logger.Warn("what keys were used for in the last minute is lost", "keys", len(k.waiting), "error", err)
	}
}

// every does something every so often, until ctx ends. A failure is logged once, until it has succeeded again.
func (k *Keeper) every(ctx context.Context, pause time.Duration, what string, do func(context.Context) error) {
	var complaint retry.Complaint
	text := "could not " + what + ", trying on"
	for retry.Pause(ctx, pause) {
		switch err := do(ctx); {
		case ctx.Err() != nil:
			return
		case err == nil:
			complaint.Clear()
		case complaint.Due(text, k.o.Clock.Now()):
			k.o.Logger.Warn(text, "error", err)
		}
	}
}

// write writes the keys that are due, or all of them, in so many transactions at most; 0: any number. What it does not
// come to is due the next time. It belongs to Run's goroutine, which alone may take counts off the Index. A key comes
// once until its count is taken, so that a key which waits has all that is counted meanwhile in one.
func (k *Keeper) write(ctx context.Context, most int, all bool) error {
	now := k.o.Clock.Now()
	for _, used := range k.o.Index.TakeUsed() {
		w := waiter{key: used}
		if taken := used.UseTakenAt(); !taken.IsZero() && !taken.After(now) { // or the clock was set back since
			w.due = taken.Add(apart)
		}
		k.waiting = append(k.waiting, w)
	}
	var due, later []waiter
	for _, w := range k.waiting {
		if all || !w.due.After(now) {
			due = append(due, w)
		} else {
			later = append(later, w)
		}
	}
	var err error
	for n := 0; len(due) > 0 && err == nil && (most == 0 || n < most); n++ {
		size := min(k.batch, len(due))
		err = k.writeBatch(ctx, due[:size], now)
		due = due[size:]
	}
	k.waiting = append(later, due...)
	k.metrics.waiting.Set(float64(len(k.waiting)))
	return err
}

// writeBatch writes the use of keys in one transaction, or puts it back. Keys that are gone are left out: their use is
// to be forgotten anyway. The database may have committed what it could not confirm; then the use is put back and
// counted twice, which is better for a count than to lose it while the database is away.
func (k *Keeper) writeBatch(ctx context.Context, keys []waiter, now time.Time) error {
	taken := make([]authn.Use, 0, len(keys))
	uses := make([]store.Use, 0, len(keys))
	for _, w := range keys {
		u := w.key.TakeUse(now)
		if u.LastUsedAt.IsZero() || u.Requests == 0 {
			continue
		}
		taken = append(taken, u)
		uses = append(uses, store.Use{
			Organization: w.key.Organization.ID, Environment: k.o.Environment, Key: string(w.key.ID()),
			UsedAt: u.LastUsedAt, Requests: int64(u.Requests), Refused: int64(u.Refused),
		})
	}
	if len(uses) == 0 {
		return nil
	}
	err := k.work.AddUse(ctx, k.o.Replica, uses)
	if err != nil {
		for _, u := range taken {
			k.o.Index.ReturnUse(u)
		}
	}
	k.metrics.count(err)
	return err
}

// fold makes rows fewer, a bit at a time: writers of SQLite wait for each other. Every process does so: a row is taken
// by one transaction alone, whoever else does the same.
func (k *Keeper) fold(ctx context.Context) error {
	for {
		switch n, err := k.work.FoldUse(ctx, k.o.Clock.Now(), batch); {
		case err != nil:
			return err
		case n < batch:
			return nil
		}
	}
}

// forget deletes what is known of keys that are gone. With an index that knows some namespaces alone, an organization
// of which it knows nothing may be one of another namespace. Only use older than unusedFor is looked at, so a key that
// another process knows and this one does not yet is not taken for gone. Whether the Index knows all is asked for each
// page anew, as a replica may lose its watches in between.
func (k *Keeper) forget(ctx context.Context) error {
	then := k.o.Clock.Now().Add(-unusedFor)
	for after, n := (store.Use{}), batch; n == batch; {
		page, err := k.work.LastUses(ctx, k.o.Environment, then, after, batch)
		if err != nil {
			return err
		}
		n = len(page)
		if n == 0 || !k.o.Complete() {
			return nil
		}
		after = page[n-1]
		if gone := k.gone(page); len(gone) > 0 {
			if err := k.work.ForgetUse(ctx, gone); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone returns those of some keys that are not there any more. They come by organization. KeyIDs looks at every
// organization, so it is asked once for each, and not for each key.
func (k *Keeper) gone(uses []store.Use) (gone []store.Use) {
	for len(uses) > 0 {
		organization, n := uses[0].Organization, 1
		for n < len(uses) && uses[n].Organization == organization {
			n++
		}
		held, known := k.o.Index.KeyIDs(organization)
		for _, u := range uses[:n] {
			if _, ok := held[u.Key]; !ok && (known || !k.o.Partial) {
				gone = append(gone, u)
			}
		}
		uses = uses[n:]
	}
	return gone
}
