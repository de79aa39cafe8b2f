// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Some posts do not go out the first time, and go better by themselves: the platform asks for patience, it is away, or
// what it did with a post is not known and it can be asked. They stay queued. How long that may go on is bounded, since
// what was to be said yesterday is seldom still to be said tomorrow.

const (
	// keepTrying is how long a post is tried again by itself, after it was due or was first sent.
	keepTrying = 24 * time.Hour
	// held is how often a post is looked at whose account has to be connected again. Whoever connects it does not wait
	// for that: see store.Tx.PutAccount.
	held = time.Hour
)

// pauses are those between two attempts at a post, at least, whatever its platform says. The first leaves time for an
// answer that is only late; the last bounds how many attempts a day of trying can leave on record.
var pauses = retry.Backoff{First: 2 * time.Second, Most: 10 * time.Minute}

// pauseAfter is the pause after the attempt of a number, from 1.
func pauseAfter(number int) time.Duration {
	if number > 10 { // and don't shift any further
		return pauses.Most
	}
	return min(pauses.First<<max(number-1, 0), pauses.Most)
}

// again is when to try again: at, or never if at is zero or the post has been tried for long enough since.
func (p *Publisher) again(at, since time.Time) time.Time {
	now := p.o.Clock.Now()
	if at.IsZero() || now.After(since.Add(keepTrying)) {
		return time.Time{}
	}
	if at.Before(now) {
		return now
	}
	return at
}

// heldUntil keeps a scheduled post whose account has to be connected again: until somebody has done that it is looked
// at once an hour. Whoever waits for an answer is told at once instead, and may send the post again.
func (p *Publisher) heldUntil(t store.Try, why *platform.Failure) time.Time {
	if why.Code != platform.CodeAuthFailed || !t.Queued {
		return time.Time{}
	}
	return p.again(p.o.Clock.Now().Add(held), t.DueAt)
}

// begin begins an attempt at a queued post, as store.Work's Start does. One that is in doubt is taken back.
func (p *Publisher) begin(ctx context.Context, postID string) (store.Post, store.Try, error) {
	post, try, err := p.work.Start(ctx, postID)
	if err != nil {
		p.takeBack(try)
	}
	return post, try, err
}

// takeBack ends an attempt of which this process was told that it could not begin it, should it have begun: the
// connection broke while that was committed. Nothing was sent, and as long as this process lives, nobody else would
// find out that the post waits for nothing. The zero Try is none.
func (p *Publisher) takeBack(t store.Try) {
	if t.ID == "" {
		return
	}
	failure := notSent
	if t.Ask {
		failure = stillUnknown
	}
	// Whether the platform has the post is as open as before, and by what to ask is what it was: this attempt has found
	// nothing out.
	o := store.Outcome{
		Attempt: t.Attempt, Failure: failure, Unsettled: t.Ask, Token: t.Token,
		Again: p.again(p.o.Clock.Now().Add(pauseAfter(t.Number)), t.DueAt),
	}
	o.Attempt.FinishedAt, o.Attempt.Failure = p.o.Clock.Now(), failure
	p.RecordLater(func(ctx context.Context) error { return p.work.Finish(ctx, []store.Outcome{o}) })
}
