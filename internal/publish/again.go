// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"fmt"
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

// storable is what is kept of an outcome, in bounds: the platform may have said anything. An error says that it is no
// outcome at all.
func (p *Publisher) storable(post store.Post, t store.Try, o platform.Outcome) (store.Outcome, error) {
	switch o := o.(type) {
	case platform.Published:
		return store.Outcome{Receipt: o.Receipt.Bounded()}, nil
	case platform.Rejected:
		o.Failure = o.Failure.Bounded()
		return store.Outcome{Failure: &o.Failure, Again: p.heldUntil(t, &o.Failure)}, nil
	case platform.NotTaken:
		o.Failure = o.Failure.Bounded()
		next := o.NotBefore
		if least := p.o.Clock.Now().Add(pauseAfter(t.Number)); !next.IsZero() && next.Before(least) {
			next = least
		}
		return store.Outcome{Failure: &o.Failure, Again: p.again(next, t.DueAt)}, nil
	case platform.OutcomeUnknown:
		o.Failure = o.Failure.Bounded()
		return p.unknown(post.Platform, t, &o.Failure, o.Token), nil
	default:
		return store.Outcome{}, fmt.Errorf("there is no outcome of type %T", o)
	}
}

// unknown is the outcome of an attempt of which nothing is known. Where nobody can be asked it is the last: to publish
// twice is worse than to ask a person.
func (p *Publisher) unknown(
	name platform.Name, t store.Try, failure *platform.Failure, token []byte,
) store.Outcome {
	o := store.Outcome{Failure: failure}
	if p.asker(name) == nil {
		return o
	}
	// It stays so if this was the last attempt: a person who retries the post has the platform asked first.
	o.Unsettled, o.Token = true, token
	if token == nil {
		o.Token = t.Token
	}
	o.Again = p.again(p.o.Clock.Now().Add(pauseAfter(t.Number)), t.FirstSentAt)
	return o
}

// again is when to try again: at, unless that is none, or the post has been tried for long enough since then.
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

// unopened is what becomes of a post whose account could not be opened, so that nobody was asked for anything. What is
// this server's own, such as a vault without its keyset, is looked at again soon.
func (p *Publisher) unopened(t store.Try, why *platform.Failure) store.Outcome {
	o := store.Outcome{Failure: why, Unsettled: t.Ask, Token: t.Token, Again: p.heldUntil(t, why)}
	if why.Code != platform.CodeAuthFailed && t.Queued {
		o.Again = p.again(p.o.Clock.Now().Add(time.Minute), t.DueAt)
	}
	return o
}

// lost judges an attempt whose process is dead.
func (p *Publisher) lost(l store.Lost) store.Outcome {
	o := p.unknown(l.Platform, l.Try, outcomeUnknown(), nil)
	o.Attempt = l.Attempt
	return o
}
