// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// atOnce is how many posts of one request are sent at a time: enough that a request for many is answered in time, and
// few enough that it does not crowd out the others. posting.AnswerWithin is reckoned with it: whoever lowers this has
// to raise that, or the connection is closed before the last post's outcome is told.
const atOnce = 5

// Publish makes the attempts that a request has begun, several at a time, and returns their outcomes in the same order.
// They are to be given to Record, for which the end of Run waits.
//
// ctx should not end with the caller's connection: a post that is on its way is sent whether or not anybody still waits
// for the answer, and an attempt that is cut off would end as unknown. first is for whoever has begun to open the first
// post's account; nil: nobody has.
func (p *Publisher) Publish(
	ctx context.Context, posts []store.Post, attempts []store.Attempt, first *Opening,
) []store.Outcome {
	p.requests.enter(attempts)
	outcomes := make([]store.Outcome, len(posts))
	var running errgroup.Group
	running.SetLimit(atOnce)
	for i, post := range posts {
		opened := first
		if i > 0 {
			opened = nil
		}
		running.Go(func() error {
			// Asked anew before each: the end of the process may come while the first ones are being sent.
			if p.requests.isEnding() {
				outcomes[i] = p.unsent(attempts[i])
			} else {
				outcomes[i] = p.attempt(ctx, post, store.FirstTry(attempts[i]), opened)
			}
			return nil
		})
	}
	_ = running.Wait() // there is none: an attempt's failure is its outcome, and does not end the others
	return outcomes
}

// unsent is the outcome of an attempt that the end of the process has come before. The attempt was stored before, so it
// has to be ended like any other.
func (p *Publisher) unsent(a store.Attempt) store.Outcome {
	a.FinishedAt, a.Failure = p.o.Clock.Now(), stopped
	return store.Outcome{Attempt: a, Failure: stopped}
}

// Retraceable tells whether how attempts at posts ended would be found out again if it were lost: all are published,
// and their platforms would say so. Warnings are of the attempt alone, and what was refused once may be taken next
// time.
func (p *Publisher) Retraceable(posts []store.Post, outcomes []store.Outcome) bool {
	for i, o := range outcomes {
		to, _ := p.o.Platforms.Get(posts[i].Platform)
		if to.Asker == nil || !to.Retraceable || o.Status() != store.Published || len(o.Receipt.Warnings) > 0 {
			return false
		}
	}
	return true
}

// Finish records how the attempts of a request ended, and has those that are to be tried again reminded of.
func (p *Publisher) Finish(ctx context.Context, tx *store.Tx, outcomes []store.Outcome) error {
	if err := tx.Finish(outcomes); err != nil {
		return err
	}
	var again []store.Post
	for _, o := range outcomes {
		if !o.Again.IsZero() {
			// Enqueue looks at no more of a post than this. What of it decides when it goes is in its row by now.
			again = append(again, store.Post{ID: o.Attempt.PostID, ScheduledAt: o.Again})
		}
	}
	return p.Enqueue(ctx, tx, again)
}

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
	// An error of another kind is a mistake of ours, and would be the same each time: the caller tells of it.
	if err == nil || soon.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	p.records.Add(&record{write})
	// Until tells that time is up, and not what failed, which an operator needs. last is nil if the first try was cut off.
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
	// Owed: an organization that has all its places taken would otherwise have its records wait for one, and all other
	// organizations' behind them.
	away := func(err error) bool { return errors.Is(err, store.ErrUnavailable) }
	err := ctx.Err()
	if err == nil {
		err = backoff.Until(store.Owed(ctx), r.write, away)
	}
	if err != nil && ctx.Err() != nil {
		err = backoff.Until(store.Owed(last), r.write, away)
	}
	if err != nil && last.Err() == nil {
		p.o.Logger.Error("something was not recorded", "error", err)
	}
}

// underway is the attempts that requests make, from before the first is sent until how they ended is written down, or
// waits to be. Those of jobs are not in it: the queue waits for its jobs by itself.
type underway struct {
	mu       sync.Mutex
	attempts map[string]struct{} // by id
	ending   bool
	nudge    chan struct{} // some have gone; it holds one, so that nobody who leaves has to wait for the one who waits
}

// newUnderway begins with nobody: attempts of an earlier process are found in the database, by SettleLost.
func newUnderway() underway {
	return underway{attempts: map[string]struct{}{}, nudge: make(chan struct{}, 1)}
}

// enter is called before the first attempt is sent, with all of a request: the end of Run waits for those that have not
// begun as well, because their outcome is written down together with the others'.
func (u *underway) enter(attempts []store.Attempt) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, a := range attempts {
		u.attempts[a.ID] = struct{}{}
	}
}

// leave is called when what became of attempts is written down, or waits where the end of Run finds it. Outcomes of
// jobs come here too, and are not found.
func (u *underway) leave(outcomes []store.Outcome) {
	u.mu.Lock()
	for _, o := range outcomes {
		delete(u.attempts, o.Attempt.ID)
	}
	u.mu.Unlock()
	select {
	case u.nudge <- struct{}{}:
	default:
	}
}

// end has nothing more sent: attempts that have not begun end as not sent.
func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ending = true
}

// isEnding tells whether nothing more is to be sent.
func (u *underway) isEnding() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ending
}

// wait returns when all have left, or late is closed, and tells how many have not. It is for one goroutine: a nudge
// wakes one only.
func (u *underway) wait(late <-chan struct{}) int {
	for {
		u.mu.Lock()
		left := len(u.attempts)
		u.mu.Unlock()
		if left == 0 {
			return 0
		}
		select {
		case <-u.nudge:
		case <-late:
			return left
		}
	}
}
