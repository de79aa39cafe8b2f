// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// pace is how often things are looked after, and how long they may take. Every process does all of it: together they do
// too much, and never any harm.
type pace struct {
	lost, overdue, release, purge, usage, recount time.Duration
	// overdueAfter is how late a post may be until its job counts as lost. A queue whose leader has died is so for 20 s.
	overdueAfter time.Duration
	// orphanAfter is how old a file must be until, without a medium that it is of, it counts as left behind. An upload
	// writes its file first, and its row when all of it is there.
	orphanAfter time.Duration
	// recordWithin is how long Record tries by itself: as long as somebody may be kept waiting for an answer.
	recordWithin time.Duration
	// recordingGrace is how long, after the last attempt must have ended, what is left to be written may take. It is more
	// than recordWithin, so that a Record that fails has put its write where the end of Run finds it.
	recordingGrace time.Duration
}

// paceOf derives what depends on how often the queue is looked at, so that tests with a short interval don't wait long.
func paceOf(poll time.Duration) pace {
	return pace{
		lost:           5 * poll,
		overdue:        10 * poll,
		release:        time.Minute,
		purge:          time.Hour,
		usage:          time.Minute,
		recount:        24 * time.Hour,
		overdueAfter:   30 * time.Second,
		orphanAfter:    24 * time.Hour,
		recordWithin:   5 * time.Second,
		recordingGrace: 6 * time.Second,
	}
}

// How many rows one statement takes, so that none of them holds the others' up for long.
const (
	overdueAtOnce = 100
	purgeAtOnce   = 1000
)

// upkeep is something that is done every so often. Every process does all of it, and none leads: each statement does no
// harm when two run it at once.
type upkeep struct {
	what  string
	every time.Duration
	do    func(context.Context) error
}

// upkeep is all of it. None of it is needed for a post to go out in time: each makes up for something that went wrong.
func (p *Publisher) upkeep() []upkeep {
	return []upkeep{
		{"end abandoned attempts", p.pace.lost, p.upkeepOfLost},
		{"queue overdue posts again", p.pace.overdue, p.requeueOnceStarted},
		{"let go what waited for another setting", p.pace.release, p.release},
		{"purge old idempotency records", p.pace.purge, p.purge},
		{"delete files that belong to nothing", p.pace.purge, p.deleteOrphans},
		{"measure what organizations have", p.pace.usage, p.work.MeasureUsage},
		{"count anew what organizations have", p.pace.recount, p.recount},
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
func (p *Publisher) settleLost(ctx context.Context) (again []store.Unattended, err error) {
	n, err := p.work.SettleLost(ctx, func(l store.Lost) store.Outcome {
		o := p.lost(l)
		if !o.Again.IsZero() { // also of a transaction that is run again: a reminder too many does no harm
			again = append(again, store.Unattended{PostID: l.PostID, Organization: l.Organization})
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

// lost judges an attempt whose process is dead.
func (p *Publisher) lost(l store.Lost) store.Outcome {
	o := p.unknown(l.Platform, l.Try, outcomeUnknown(), nil)
	o.Attempt = l.Attempt
	return o
}

// requeueOnceStarted requeues what is overdue, but not while the queue starts: River's InsertMany reads what its Start
// is still writing.
func (p *Publisher) requeueOnceStarted(ctx context.Context) error {
	select {
	case <-p.started:
		return p.requeueOverdue(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keepUp does u at once, and then every so often, until ctx ends. A failure is logged once, until it has succeeded
// again: an outage is said by whoever is kept waiting by it. At once, because what an earlier process has left is there
// from the start.
func (p *Publisher) keepUp(ctx context.Context, u upkeep) {
	complaintText := "could not " + u.what + ", trying on"
	var complaint retry.Complaint
	for {
		err := u.do(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			complaint.Clear()
		case complaint.Due(complaintText, p.o.Clock.Now()):
			p.o.Logger.Warn(complaintText, "error", err)
		}
		if !retry.Pause(ctx, u.every) {
			return
		}
	}
}

// requeueOverdue makes up for jobs that are lost, or that came to nothing because two machines' clocks differ. It takes
// the accounts whose posts are the oldest first, and the rest the next time: what is overdue by hundreds is late for a
// reason that more jobs do not change.
func (p *Publisher) requeueOverdue(ctx context.Context) error {
	then := p.o.Clock.Now().Add(-p.pace.overdueAfter)
	// Counted apart from the list, which has one post of each account: whoever is alerted wants to know how many are late.
	late, err := p.work.CountOverdue(ctx, then, overdueAtOnce)
	if err != nil {
		return fmt.Errorf("count overdue posts: %w", err)
	}
	p.metrics.overdue.Set(float64(late)) // also none: an alert that is over must end
	if late == 0 {
		return nil
	}
	posts, err := p.work.Overdue(ctx, then, overdueAtOnce)
	if err != nil {
		return fmt.Errorf("list overdue posts: %w", err)
	}
	return p.remind(ctx, posts)
}

// hasStarted tells whether the queue has.
func (p *Publisher) hasStarted() bool {
	select {
	case <-p.started:
		return true
	default:
		return false
	}
}

// remind makes jobs for posts whose own are lost, or were never there. At once, and not when a post was due: that time
// has passed, and a job that comes a little early waits.
func (p *Publisher) remind(ctx context.Context, posts []store.Unattended) error {
	if len(posts) == 0 {
		return nil
	}
	jobs := make([]river.InsertManyParams, len(posts))
	for i, post := range posts {
		jobs[i] = river.InsertManyParams{
			Args:       job{PostID: post.PostID, Organization: post.Organization, Overdue: true},
			InsertOpts: &river.InsertOpts{UniqueOpts: oneOfPost, Priority: lastPriority},
		}
	}
	if _, err := p.queue.InsertMany(ctx, jobs); err != nil {
		return fmt.Errorf("queue %d posts without a job: %w", len(posts), err)
	}
	return nil
}

// release lets posts go that wait for a setting which this process has. At the start, for one that was started with it;
// and every so often, as replicas that have the old one may still be there and find such a post first.
func (p *Publisher) release(ctx context.Context) error {
	for _, to := range p.o.Platforms {
		if to.Waits == nil {
			continue
		}
		n, err := p.work.Release(ctx, to.Name, *to.Waits)
		if err != nil {
			return err
		}
		if n > 0 {
			p.o.Logger.Info("posts are tried again that waited for another setting",
				"platform", to.Name, "posts", n, "with", to.Waits.Setting)
		}
	}
	return nil
}

// recount makes up for what the database's triggers could not see. The store logs what it puts right.
func (p *Publisher) recount(ctx context.Context) error {
	_, err := p.work.Recount(ctx)
	return err
}

// purge deletes the answers that were kept long enough for requests that may be sent again, bit by bit: writers of
// SQLite wait for each other. A full batch may have left more; one that is not full was the last.
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
