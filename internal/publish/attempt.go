// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// atOnce is how many posts of one request are sent at a time: enough that a request for many is answered in time, and
// few enough that it does not crowd out the others.
const atOnce = 5

// Publish makes the attempts that a request has begun, several at a time, and returns their outcomes in the same order.
// They are to be given to Record, for which the end of Run waits.
//
// ctx should not end with the caller's connection: a post that is on its way is sent whether or not anybody still waits
// for the answer, and an attempt that is cut off would end as unknown.
func (p *Publisher) Publish(ctx context.Context, posts []store.Post, attempts []store.Attempt) []store.Outcome {
	return p.PublishOpened(ctx, posts, attempts, nil)
}

// PublishOpened is Publish for whoever has begun to open the first post's account.
func (p *Publisher) PublishOpened(
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

// attempt makes an attempt that is stored already, and returns how it ended. It stores nothing: the caller does that
// together with what else it has to write.
func (p *Publisher) attempt(ctx context.Context, post store.Post, t store.Try, opened *Opening) store.Outcome {
	ctx, span := tracing.Child(ctx, "publish attempt")
	began := p.o.Clock.Now()
	o := p.send(ctx, post, t, opened)
	endSpan(span, post.Platform, o.Failure)
	o.Attempt = t.Attempt
	o.Attempt.FinishedAt, o.Attempt.Failure = p.o.Clock.Now(), o.Failure
	p.metrics.published(post.Platform, o.Failure, o.Attempt.FinishedAt.Sub(began))
	return o
}

// endSpan ends the span of an attempt. It tells the outcome in the words of the metrics, so that one leads to the
// other.
func endSpan(span trace.Span, name platform.Name, failure *platform.Failure) {
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("lmp.platform", string(name)),
			attribute.String("lmp.publish.outcome", outcomeOf(failure)),
		)
		if failure != nil {
			// Without a description: the failure's message may repeat what the author wrote.
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}

// send sends a post, or asks what became of it. Whatever goes wrong becomes a failure, which says whether the platform
// may have the post. It logs what its author can't do anything about.
func (p *Publisher) send(ctx context.Context, post store.Post, t store.Try, opened *Opening) store.Outcome {
	to := p.publisher(post.Platform)
	if to == nil {
		return store.Outcome{Failure: notEnabled(post.Platform)}
	}
	if post.Account == nil { // it was disconnected after the post was queued
		return store.Outcome{Failure: disconnected}
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	pub, early := p.publication(ctx, post, t, opened)
	if early != nil {
		return *early
	}
	outcome, err := guarded(func() (platform.Outcome, error) {
		if asker := p.asker(post.Platform); t.Ask && asker != nil {
			return asker.Ask(ctx, pub, t.Token)
		}
		return to.Publish(ctx, pub)
	})
	// An error and a value that is no outcome are the same mistake: in both cases nothing is known.
	var o store.Outcome
	if err == nil {
		o, err = p.storable(post, t, outcome)
	}
	if err != nil {
		p.o.Logger.Error("a platform's part of this server has failed",
			"post", post.ID, "platform", post.Platform, "error", err)
		return p.unknown(post.Platform, t, failureOf(ctx, post.Platform), nil)
	}
	if o.Failure != nil && o.Failure.Code == platform.CodeAuthFailed && p.o.Connections != nil {
		// Said to all who look at the account, also if the process is told to end.
		p.o.Connections.Refused(context.WithoutCancel(ctx), pub.Credentials, *o.Failure)
	}
	return o
}

// failureOf says why nothing is known of an attempt: by ctx and not by its error. What a platform's client makes of the
// end of its context is anybody's guess.
func failureOf(ctx context.Context, name platform.Name) *platform.Failure {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timedOut(name)
	case ctx.Err() != nil:
		return outcomeUnknown()
	}
	return mistake
}

// publication is a post as its platform gets it. early is not nil if it comes to nothing before the platform is asked:
// then it is certain that an attempt at publishing has not got there, while one that asks still knows nothing.
func (p *Publisher) publication(ctx context.Context, post store.Post, t store.Try, opened *Opening) (
	pub platform.Publication, early *store.Outcome,
) {
	pub = platform.Publication{
		PostID:      post.ID,
		FirstSentAt: t.FirstSentAt,
		To: platform.Account{
			ID:                post.Account.ID,
			Platform:          post.Account.Platform,
			PlatformAccountID: post.Account.PlatformAccountID,
		},
		Credentials: noCredentials{},
	}
	var failure *platform.Failure
	var err error
	if pub.Content, err = p.content(ctx, post); err == nil && p.o.Connections != nil {
		pub.Credentials, failure, err = p.open(ctx, post, opened)
	}
	if err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		p.o.Logger.Error("a post was not sent", "post", post.ID, "platform", post.Platform, "error", err)
		if t.Ask {
			o := p.unknown(post.Platform, t, outcomeUnknown(), nil)
			return pub, &o
		}
		return pub, &store.Outcome{Failure: notSent}
	case failure != nil:
		o := p.unopened(t, failure)
		return pub, &o
	}
	return pub, nil
}

// guarded makes an error of a panic: one platform's mistake must not end the process, with everybody's attempts.
func guarded(do func() (platform.Outcome, error)) (o platform.Outcome, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return do()
}

// noCredentials are the credentials of every account of the sandbox, which needs none.
type noCredentials struct{}

// Get is platform.Credentials'.
func (noCredentials) Get(context.Context) (platform.Secrets, error) {
	return nil, platform.ErrNoSecrets
}

// Renew is platform.Credentials'.
func (noCredentials) Renew(context.Context, platform.Secrets) (platform.Secrets, error) {
	return nil, platform.ErrNoSecrets
}

// content is what a post says, with its media to be opened when they are needed. It is an error if one of them is gone:
// a post without its picture is another post.
func (p *Publisher) content(ctx context.Context, post store.Post) (platform.Content, error) {
	c := platform.Content{Text: post.Text, FirstComment: post.FirstComment}
	if post.Options != nil {
		c.Options = *post.Options
	}
	if len(post.Media) == 0 {
		return c, nil
	}
	files, keys, err := p.work.MediaOf(ctx, post.ID)
	if err != nil {
		return c, fmt.Errorf("look up the media of post %s: %w", post.ID, err)
	}
	// files are in the order of post.Media, or some of them are missing.
	if len(files) != len(post.Media) {
		return c, fmt.Errorf("post %s has %d media, and %d files are left of them", post.ID, len(post.Media), len(files))
	}
	for i, ref := range post.Media {
		c.Media = append(c.Media, platform.Media{
			Kind:        ref.Kind,
			AltText:     ref.AltText,
			ID:          files[i].ID,
			ContentType: files[i].ContentType,
			SizeBytes:   files[i].SizeBytes,
			Open:        func(ctx context.Context) (io.ReadCloser, error) { return p.o.Media.Get(ctx, keys[i]) },
		})
	}
	return c, nil
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
