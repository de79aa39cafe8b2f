// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// job asks to publish a post. It is no more than a reminder: whether there is anything to do is for Work.Start to say,
// which lets one attempt through whatever the number of jobs. So a job too many does no harm, and one that is lost is
// made again (see upkeep).
type job struct {
	PostID string `json:"postId" river:"unique"`
	// Organization is whose turn it takes. Jobs of earlier versions may have none.
	Organization string `json:"organization,omitempty"`
	// Overdue tells jobs of remind from a post's own one, which may seem to run for a minute after its process has
	// died.
	Overdue bool `json:"overdue,omitempty" river:"unique"`
}

// Kind is how the queue's table names jobs.
func (job) Kind() string { return "publish_post" }

const (
	// workers is how many scheduled posts one process publishes at a time. Each of them mostly waits for a platform.
	workers = 10
	// maxAttempts is how often a job is tried while the database is away, half a minute apart: for most of a day. After
	// that the post is found as overdue, and gets another job.
	maxAttempts = 2000
	// retryAtMost is the longest time between two of them. A post is late by as much after an outage.
	retryAtMost = 30 * time.Second
	// defaultPollInterval is how late a post is by the queue alone, at most: each look costs the database something.
	defaultPollInterval = time.Second
	// fetchCooldown is the time between two looks at the queue while it has more to give out. Where many posts were due at
	// once, most jobs find theirs published by another one, and those should not take longer to end than the posts did.
	fetchCooldown = 20 * time.Millisecond
	// besideAttempt is what a job may take before and after its attempt.
	besideAttempt = 15 * time.Second
	// rescueAfter is how long, after a job should have ended, until it counts as abandoned and is given to another
	// process.
	rescueAfter = 30 * time.Second
)

// newQueue asks the database for nothing: River does when it is started.
func (p *Publisher) newQueue() (*river.Client[*sql.Tx], error) {
	jobs := river.NewWorkers()
	if err := river.AddWorkerSafely(jobs, &worker{p: p}); err != nil {
		return nil, fmt.Errorf("set up the job queue: %w", err)
	}
	timeout := p.o.Timeout + besideAttempt
	client, err := river.NewClient(p.o.Store.QueueDriver(), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		Workers: jobs,
		// LISTEN needs a connection of pgx's own, and SQLite has nothing like it: through database/sql, polling is all.
		PollOnly:          true,
		FetchPollInterval: p.o.PollInterval,
		FetchCooldown:     min(p.o.PollInterval, fetchCooldown),

		MaxAttempts:          maxAttempts,
		RetryPolicy:          retries{p},
		JobTimeout:           timeout,
		RescueStuckJobsAfter: timeout + rescueAfter,
		// As long as an attempt and its record may take, after which the queue cancels its jobs' contexts.
		SoftStopTimeout: p.o.Timeout + p.pace.recordingGrace,

		// Jobs that are done are of no use to anybody: what became of a post is with the post.
		CompletedJobRetentionPeriod: time.Hour,
		Logger:                      p.throttled,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the job queue: %w", err)
	}
	return client, nil
}

// Enqueue has posts published when their time has come, if tx is committed. A post that has a job already gets another
// in its place, so it is also how a post is moved.
func (p *Publisher) Enqueue(ctx context.Context, tx *store.Tx, posts []store.Post) error {
	if len(posts) == 0 {
		return nil
	}
	// The posts are in tx already, and count. A job keeps the priority that it is made with, whatever has become of the
	// backlog by the time that it is due.
	organization, queued, err := tx.Backlog()
	if err != nil {
		return err
	}
	now := p.o.Clock.Now()
	jobs := make([]river.InsertManyParams, len(posts))
	for i, post := range posts {
		jobs[i] = river.InsertManyParams{
			Args:       job{PostID: post.ID, Organization: organization},
			InsertOpts: &river.InsertOpts{UniqueOpts: oneOfPost, Priority: priority(queued)},
		}
		if post.ScheduledAt.After(now) {
			// SQLite's jobs know milliseconds, cut off. A job that comes before its post is due would do nothing.
			jobs[i].InsertOpts.ScheduledAt = post.ScheduledAt.Add(time.Millisecond)
		}
	}
	results, err := p.queue.InsertManyTx(ctx, tx.SQL(), jobs)
	// A post without a job would wait until it is overdue, so this must not pass unnoticed.
	if err == nil && len(results) != len(jobs) {
		err = fmt.Errorf("%d jobs were made", len(results))
	}
	for i := 0; err == nil && i < len(jobs); i++ {
		if results[i].UniqueSkippedAsDuplicate {
			err = p.replaceJob(ctx, tx, results[i].Job, jobs[i])
		}
	}
	if err != nil {
		return fmt.Errorf("queue %d posts: %w", len(posts), err)
	}
	return nil
}

// replaceJob puts a job in the place of the one that its post has. Else each move of a post would leave one until its
// time.
func (p *Publisher) replaceJob(
	ctx context.Context, tx *store.Tx, old *rivertype.JobRow, by river.InsertManyParams,
) error {
	_, err := p.queue.JobDeleteTx(ctx, tx.SQL(), old.ID)
	switch {
	case errors.Is(err, rivertype.ErrJobRunning):
		// That of an earlier attempt, which is just about to end: this one is for the next, beside it.
		by.InsertOpts.UniqueOpts = river.UniqueOpts{}
	case err != nil && !errors.Is(err, rivertype.ErrNotFound):
		return fmt.Errorf("replace job %d: %w", old.ID, err)
	}
	_, err = p.queue.InsertTx(ctx, tx.SQL(), by.Args, by.InsertOpts)
	return err
}

// oneOfPost lets one job of its arguments wait, so that they don't pile up if the queue is behind, or a post is moved
// often. The final states are left out: a post whose job is over may be queued again.
var oneOfPost = river.UniqueOpts{
	ByArgs: true,
	ByState: []rivertype.JobState{
		rivertype.JobStateAvailable,
		rivertype.JobStatePending,
		rivertype.JobStateRetryable,
		rivertype.JobStateRunning,
		rivertype.JobStateScheduled,
	},
}

// runQueue starts the queue, however long the database is away, works jobs off until ctx ends, and waits for those that
// are running until late is closed.
func (p *Publisher) runQueue(ctx context.Context, late <-chan struct{}) {
	err := backoff.Until(ctx, func(ctx context.Context) error { return p.queue.Start(ctx) }, func(err error) bool {
		p.o.Logger.Warn("the job queue could not be started, trying on", "error", err)
		return true
	})
	if err != nil {
		return // ctx has ended
	}
	close(p.started)
	// Once started, the queue stops by itself when ctx ends.
	select {
	case <-p.queue.Stopped():
	case <-late:
		// The queue writes on at its own pace if the database is away. That is not worth waiting for: jobs are reminders.
		p.o.Logger.Warn("the job queue did not stop in time")
	}
}

// worker does one job. River makes no value of it for each job, so it holds nothing of one.
type worker struct {
	river.WorkerDefaults[job]
	p *Publisher
}

// drainFor is how long one job goes on with what else there is to do. The queue gives jobs out a few at a time, and
// those of one account together: an account with a thousand posts would otherwise wait for it a thousand times, and the
// workers would wait for that account.
//
// It is well within besideAttempt, since the last attempt may begin when it is nearly over: River's JobTimeout is to
// leave that one all of its own time, and some to record it.
const drainFor = 2 * time.Second

// Work publishes what the post's account has due, if anything: a job is a reminder that there is something. An error
// has it tried again: it is returned only if no attempt was begun.
//
// Where the account has nothing to do, or is busy, the worker goes on with others of the organization. Their posts keep
// their jobs, as the account keeps this one.
//
// One that makes up for a lost job waits for nothing that is far away, since no other is made while it waits: a post
// that is held until its account is connected again would be held for as long as it sleeps. Upkeep makes another in
// time.
func (w *worker) Work(ctx context.Context, j *river.Job[job]) error {
	// The job was fetched by the database's clock. By ours, which decides whether a post is due, it may be too early.
	if early := j.ScheduledAt.Sub(w.p.o.Clock.Now()); early > 0 {
		return river.JobSnooze(early)
	}
	// Before anything is begun: a job that gives up here leaves nothing behind, while an attempt that waited for a worker
	// would keep its account from all other workers, and have its time run.
	turn, leave, err := w.p.shares.take(ctx, j.Args.Organization)
	if err != nil {
		return err
	}
	defer leave()
	ctx = platform.InTurnOf(ctx, j.Args.Organization)
	until := w.p.o.Clock.Now().Add(drainFor)
	err = w.drain(ctx, j.Args, until)
	snooze := new(river.JobSnoozeError)
	switch {
	case err != nil && !errors.As(err, &snooze):
		return err
	case err != nil && j.Args.Overdue && snooze.Duration > retryAtMost:
		err = nil
	}
	for w.goesOn(until) {
		other := w.p.shares.another(ctx, turn)
		if other == "" {
			break
		}
		_ = w.drain(ctx, job{PostID: other}, until) // whatever it is, its own job finds it
	}
	return err
}

// goesOn tells whether a job may begin another attempt.
func (w *worker) goesOn(until time.Time) bool {
	return w.p.o.Clock.Now().Before(until) && !w.p.requests.isEnding()
}

// drain publishes what the account of a job's post has due, one after another. The error is next's; or, where time was
// up before all was done, it has the job come again in its turn: the jobs of the posts that are left may be lost, or
// asleep for an hour, as they are after an account was connected again.
func (w *worker) drain(ctx context.Context, of job, until time.Time) error {
	for done := 0; ; done++ {
		more, err := w.next(ctx, of, done > 0)
		switch {
		case err != nil || !more:
			return err
		case !w.goesOn(until):
			return river.JobSnooze(notYourTurn)
		}
	}
}

// next publishes the next post that an account has due, and tells whether there may be more. others tells that this job
// has published one before.
func (w *worker) next(ctx context.Context, of job, others bool) (more bool, err error) {
	ctx, span := tracing.Start(ctx, w.p.o.Tracer, "scheduled post")
	defer span.End()
	post, try, err := w.p.begin(ctx, of.PostID)
	var notYet *store.NotYet
	switch {
	case err != nil && others:
		return false, nil //nolint:nilerr // whatever it is, the next job finds it
	case errors.As(err, &notYet) && notYet.Until.IsZero() && of.Overdue:
		// Whoever is at the account goes on with it. As long as that takes, upkeep makes one more of these every so often:
		// they would all come again and again.
		return false, nil
	case errors.As(err, &notYet):
		return false, river.JobSnooze(max(notYet.Until.Sub(w.p.o.Clock.Now()), notYourTurn))
	// A job that finds nothing to do is the normal end of one that was overtaken.
	case errors.Is(err, store.ErrState), errors.Is(err, store.ErrNotFound):
		return false, nil // canceled, moved, deleted, or begun by another job: there is nothing to do
	case err != nil:
		return false, fmt.Errorf("begin an attempt at post %s: %w", of.PostID, err)
	}
	outcomes := []store.Outcome{w.p.attempt(ctx, post, try, nil)}
	finish := func(ctx context.Context) error { return w.p.work.Finish(ctx, outcomes) }
	if err := w.p.Record(ctx, outcomes, finish); err != nil {
		// Not the job's error: it would be tried again, and find nothing to do.
		w.p.o.Logger.Warn("the outcome of an attempt could not be recorded yet", "post", post.ID, "error", err)
		return false, nil
	}
	// The job goes on as the reminder of the next attempt: as many posts as an account has queued, as many jobs there are.
	if again := outcomes[0].Again; !again.IsZero() {
		// The time may have come while the outcome was recorded, and River panics at less than none.
		return false, river.JobSnooze(max(again.Sub(w.p.o.Clock.Now()), time.Millisecond))
	}
	return true, nil
}

// retries makes jobs that failed wait longer and longer, but never long.
type retries struct{ p *Publisher }

// NextRetry is river.ClientRetryPolicy's. j.Attempt is 1 after the first try: 2, 4, 8 and 16 seconds, and then half a
// minute each.
func (r retries) NextRetry(j *rivertype.JobRow) time.Time {
	delay := retryAtMost
	if j.Attempt < 5 {
		delay = time.Second << max(j.Attempt, 0)
	}
	return r.p.o.Clock.Now().Add(delay)
}
