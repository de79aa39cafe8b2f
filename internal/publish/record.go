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

// laterAtMost is how much may wait to be written for RecordLater to add to it: more than requests run at a time, and
// written within seconds.
const laterAtMost = 2000

// record is what could not be written yet.
type record struct {
	write func(context.Context) error
}

// Record writes down how attempts ended, by write. While the database is away it tries on, because what was published
// must not be forgotten: for some seconds before it returns, and after that for as long as Run runs. Then the error is
// store.ErrUnavailable. write may run more than once, and after Record has returned.
func (p *Publisher) Record(ctx context.Context, outcomes []store.Outcome, write func(context.Context) error) error {
	defer p.requests.leave(outcomes)
	soon, cancel := context.WithTimeout(ctx, p.pace.recordWithin)
	defer cancel()
	var last error
	err := persist(soon, write, func(err error) bool {
		last = err
		return errors.Is(err, store.ErrUnavailable)
	})
	if err == nil || soon.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	p.records.add(record{write})
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
	if !p.records.addBelow(laterAtMost, record{write}) {
		p.seldom.Warn("too much waits for the database: what a request has left there is cleared up in half an hour only")
	}
}

// recordLate writes what Record could not, and what RecordLater was given, until ctx ends; then it tries once more.
func (p *Publisher) recordLate(ctx context.Context) {
	p.records.serve(ctx, func(r record) { p.writeLate(ctx, r) })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for last.Err() == nil {
		r, ok := p.records.next()
		if !ok {
			return
		}
		p.writeLate(last, r)
	}
	p.o.Logger.Error("the database was away for too long: some outcomes are not recorded, and will be told as unknown")
}

func (p *Publisher) writeLate(ctx context.Context, r record) {
	err := persist(ctx, r.write, func(err error) bool { return errors.Is(err, store.ErrUnavailable) })
	switch {
	case err == nil:
	case ctx.Err() != nil:
		p.records.add(r)
	default:
		p.o.Logger.Error("something was not recorded", "error", err)
	}
}

// FailLost settles the attempts of dead processes now.
func (p *Publisher) FailLost(ctx context.Context) error {
	n, err := p.work.FailLost(ctx, *outcomeUnknown())
	if err != nil {
		return fmt.Errorf("settle the attempts of dead processes: %w", err)
	}
	if n > 0 {
		p.metrics.lost.Add(float64(n))
		p.o.Logger.Warn("settled attempts of dead processes: their outcome is not known", "attempts", n)
	}
	return nil
}
