// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	// laterAtMost is how many writes may wait for RecordLater to add one: more than requests run at a time, and done
	// within seconds once the database is back.
	laterAtMost = 2000
	// lastRecordWithin is how long, at the end of Run, what is left is tried.
	lastRecordWithin = time.Second
)

// record is what could not be written yet. It waits as a pointer, so that no two of them are taken for one.
type record struct {
	write func(context.Context) error
}

// Record writes down how attempts ended, by write. While the database is away it tries on, because what was published
// must not be forgotten: for some seconds before it returns, and after that for as long as Run runs. Then the error is
// store.ErrUnavailable. write may run more than once, and after Record has returned.
func (p *Publisher) Record(ctx context.Context, outcomes []store.Outcome, write func(context.Context) error) error {
	defer p.requests.leave(outcomes) // last of all: the end of Run waits for it, and then takes no more records
	// Bounded by itself and by the caller's ctx: whichever ends first, the write is handed on and not given up.
	soon, cancel := context.WithTimeout(ctx, p.pace.recordWithin)
	defer cancel()
	var last error
	err := backoff.Until(soon, write, func(err error) bool {
		last = err
		return errors.Is(err, store.ErrUnavailable)
	})
	if err == nil || soon.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	p.records.Add(&record{write})
	if last == nil {
		last = err
	}
	return fmt.Errorf("record how attempts ended: %w: %w", store.ErrUnavailable, last)
}

// RecordLater writes something down as soon as the database can be reached, for as long as Run runs. It returns at
// once. write may run more than once.
//
// It is for what takes care of itself, if later: a claim or an attempt that nobody knows of counts as abandoned half an
// hour after it was begun. So when a great many wait already, as in an outage with much to do, it is dropped: there
// must be room for outcomes, which nobody can make up for.
func (p *Publisher) RecordLater(write func(context.Context) error) {
	// Callers that look at the same moment may add a few too many. What is bounded is memory: that does no harm.
	if p.records.Len() >= laterAtMost {
		p.throttled.Warn("too much waits for the database: what a request has left there is cleared up in half an hour only")
		return
	}
	p.records.Add(&record{write})
}

// recordLate writes what Record could not, and what RecordLater was given, until ctx ends; then it tries what is left
// once more, within a second.
//
// Records are written one after another, and the first that fails holds the others up. That is on purpose: what fails
// is the database, which is then asked once in five seconds, and not by each of thousands. For the same reason, and
// because it drops what waits for its next try when it is shut down, this is no rate-limiting workqueue.
func (p *Publisher) recordLate(ctx context.Context) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() {
		p.records.ShutDown() // Get returns what is left, and then that it has ended
		time.AfterFunc(lastRecordWithin, cancel)
	})
	for last.Err() == nil {
		r, ended := p.records.Get()
		if ended {
			return
		}
		p.writeLate(ctx, last, r)
		p.records.Done(r)
	}
	p.o.Logger.Error("the database was away for too long: some outcomes are not recorded, and will be told as unknown")
}

// writeLate tries until ctx ends, and then, at once and anew, until last does: ctx may end in the middle of a long
// pause.
func (p *Publisher) writeLate(ctx, last context.Context, r *record) {
	away := func(err error) bool { return errors.Is(err, store.ErrUnavailable) }
	err := ctx.Err()
	if err == nil {
		err = backoff.Until(ctx, r.write, away)
	}
	if err != nil && ctx.Err() != nil {
		err = backoff.Until(last, r.write, away)
	}
	if err != nil && last.Err() == nil {
		p.o.Logger.Error("something was not recorded", "error", err)
	}
}

// SettleLost ends the attempts of dead processes now. Whether their platforms took the posts, nobody knows: where the
// platform can be asked, the posts stay queued for that, and otherwise they fail.
func (p *Publisher) SettleLost(ctx context.Context) error {
	again, err := p.settleLost(ctx)
	if err != nil || !p.hasStarted() {
		return err // without the queue, the posts are found when they are overdue
	}
	return p.remind(ctx, again)
}

// upkeepOfLost is SettleLost for whoever can wait until there is a queue to remind by: what the process before this one
// has left is found before that.
func (p *Publisher) upkeepOfLost(ctx context.Context) error {
	again, err := p.settleLost(ctx)
	if err != nil || len(again) == 0 {
		return err
	}
	select {
	case <-p.started:
		return p.remind(ctx, again)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settleLost returns the posts that stay queued. Nobody reminds of them: those of requests never had a job, and that of
// a scheduled one may seem to run for a minute after its process has died.
func (p *Publisher) settleLost(ctx context.Context) (again []string, err error) {
	n, err := p.work.SettleLost(ctx, func(l store.Lost) store.Outcome {
		o := p.lost(l)
		if !o.Again.IsZero() { // also of a transaction that is run again: a reminder too many does no harm
			again = append(again, l.PostID)
		}
		return o
	})
	if err != nil {
		return nil, fmt.Errorf("end abandoned attempts: %w", err)
	}
	if n > 0 {
		p.metrics.lost.Add(float64(n))
		p.o.Logger.Warn("ended attempts of dead processes: their outcome is not known", "attempts", n)
	}
	return again, nil
}
