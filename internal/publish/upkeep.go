// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// pace is how often things are looked after. Every process does all of it: together they do too much, and never any
// harm.
type pace struct {
	lost, overdue, purge time.Duration
	// overdueAfter is how late a post may be until its job counts as lost. A queue whose leader has died is so for 20 s.
	overdueAfter time.Duration
	// orphanAfter is how old a file must be until, without a medium that it is of, it counts as left behind.
	orphanAfter time.Duration
	// recordWithin is how long Record tries by itself: as long as somebody may be kept waiting for an answer.
	recordWithin time.Duration
	// settleWithin is how long, after the last attempt must have ended, what is left to be written may take.
	settleWithin time.Duration
}

func paceOf(poll time.Duration) pace {
	return pace{
		lost:         5 * poll,
		overdue:      10 * poll,
		purge:        time.Hour,
		overdueAfter: 30 * time.Second,
		orphanAfter:  24 * time.Hour,
		recordWithin: 5 * time.Second,
		settleWithin: 6 * time.Second,
	}
}

const (
	overdueAtOnce = 100
	purgeAtOnce   = 1000
)

// upkeep is something that is done every so often.
type upkeep struct {
	what  string
	every time.Duration
	do    func(context.Context) error
}

func (p *Publisher) upkeep() []upkeep {
	return []upkeep{
		{"settle the attempts of dead processes", p.pace.lost, p.FailLost},
		{"queue overdue posts again", p.pace.overdue, p.requeueOverdue},
		{"purge old idempotency records", p.pace.purge, p.purge},
		{"delete files that belong to nothing", p.pace.purge, p.deleteOrphans},
	}
}

// keepUp does u at once, and then every so often, until ctx ends.
func (p *Publisher) keepUp(ctx context.Context, u upkeep) {
	failing := false
	for {
		err := u.do(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			p.o.Logger.Warn("could not "+u.what+", trying on", "error", err)
		}
		failing = err != nil
		if !wait(ctx, u.every) {
			return
		}
	}
}

// requeueOverdue makes up for jobs that are lost, or that came to nothing because two machines' clocks differ.
func (p *Publisher) requeueOverdue(ctx context.Context) error {
	ids, err := p.work.Overdue(ctx, p.o.Clock.Now().Add(-p.pace.overdueAfter), overdueAtOnce)
	if err != nil {
		return fmt.Errorf("list overdue posts: %w", err)
	}
	p.metrics.overdue.Set(float64(len(ids)))
	if len(ids) == 0 {
		return nil
	}
	jobs := make([]river.InsertManyParams, len(ids))
	for i, id := range ids {
		jobs[i] = river.InsertManyParams{
			Args:       job{PostID: id, Overdue: true},
			InsertOpts: &river.InsertOpts{UniqueOpts: oneOfPost},
		}
	}
	if _, err := p.queue.InsertMany(ctx, jobs); err != nil {
		return fmt.Errorf("queue %d overdue posts: %w", len(ids), err)
	}
	return nil
}

func (p *Publisher) purge(ctx context.Context) error {
	for {
		n, err := p.work.Purge(ctx, p.o.Clock.Now(), purgeAtOnce)
		if err != nil {
			return fmt.Errorf("purge idempotency records: %w", err)
		}
		if n < purgeAtOnce {
			return nil
		}
	}
}
