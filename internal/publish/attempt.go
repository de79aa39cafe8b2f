// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// defaultTimeout leaves time for a platform that is slow. The end of a process may take as long, and some seconds:
// whoever raises it raises what Run waits for, and what the pod's terminationGracePeriodSeconds must leave room for.
const defaultTimeout = 20 * time.Second

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
		why := notEnabled(post.Platform)
		return unasked(store.Outcome{Failure: why, Unsettled: t.Ask, Token: t.Token}, why.Message)
	}
	if post.Account == nil { // it was disconnected after the post was queued
		return unasked(store.Outcome{Failure: disconnected, Unsettled: t.Ask, Token: t.Token}, isGone)
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	// The time of the attempt has begun: an account that takes long to open leaves its platform less of it.
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
	if o.Failure == nil || o.Failure.Code != platform.CodeAuthFailed {
		return o
	}
	if p.o.Connections != nil {
		// Said to all who look at the account, also if the process is told to end.
		p.o.Connections.Refused(context.WithoutCancel(ctx), pub.Credentials, *o.Failure)
	}
	return unasked(o, o.Failure.Message)
}

// publisher returns that of a platform; nil: this server does not publish to it.
func (p *Publisher) publisher(name platform.Name) platform.Publisher {
	found, _ := p.o.Platforms.Get(name)
	return found.Publisher
}

// asker returns that of a platform; nil: nothing tells what became of a post.
func (p *Publisher) asker(name platform.Name) platform.Asker {
	found, _ := p.o.Platforms.Get(name)
	return found.Asker
}

// Preflight says what the post's platform would refuse. The content's media need types and sizes, and no bytes. It asks
// nobody over the network, so a caller can wait for it, and passing it promises nothing.
func (p *Publisher) Preflight(name platform.Name, c platform.Content) *platform.Failure {
	to := p.publisher(name)
	if to == nil {
		return notEnabled(name)
	}
	return to.Preflight(c)
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

// storable is what is kept of an outcome, in bounds: the platform may have said anything. An error says that it is no
// outcome at all.
func (p *Publisher) storable(post store.Post, t store.Try, o platform.Outcome) (store.Outcome, error) {
	switch o := o.(type) {
	case platform.Published:
		return store.Outcome{Receipt: o.Receipt.Bounded()}, nil
	case platform.Rejected:
		o.Failure = o.Failure.Bounded()
		refused := store.Outcome{Failure: &o.Failure, Again: p.heldUntil(t, &o.Failure)}
		// A platform that does not let us in has not looked whether the post is there.
		if t.Ask && o.Failure.Code == platform.CodeAuthFailed {
			refused.Unsettled, refused.Token = true, t.Token
		}
		return refused, nil
	case platform.NotTaken:
		o.Failure = o.Failure.Bounded()
		next := o.NotBefore
		if least := p.o.Clock.Now().Add(pauseAfter(t.Number)); !next.IsZero() && next.Before(least) {
			next = least
		}
		return store.Outcome{Failure: &o.Failure, Again: p.again(next, t.DueAt)}, nil
	case platform.OutcomeUnknown:
		o.Failure = o.Failure.Bounded()
		unknown := p.unknown(post.Platform, t, &o.Failure, o.Token)
		if !unknown.Again.IsZero() && unknown.Again.Before(o.NotBefore) {
			unknown.Again = o.NotBefore
		}
		return unknown, nil
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

// unopened is what becomes of a post whose account could not be opened, so that nobody was asked for anything. What is
// this server's own, such as a vault without its keyset, is looked at again soon.
func (p *Publisher) unopened(t store.Try, why *platform.Failure) store.Outcome {
	o := store.Outcome{Failure: why, Unsettled: t.Ask, Token: t.Token, Again: p.heldUntil(t, why)}
	if why.Code != platform.CodeAuthFailed && t.Queued {
		o.Again = p.again(p.o.Clock.Now().Add(time.Minute), t.DueAt)
	}
	return unasked(o, why.Message)
}

// unasked is the outcome of an attempt that could not ask its platform, for a reason. If it is the last one of a post
// that the platform may have, the reason's own advice could make a second post: the author is to look there first.
func unasked(o store.Outcome, why string) store.Outcome {
	if o.Unsettled && o.Again.IsZero() {
		o.Failure = mayBeThere(why, o.Failure.PlatformResponse)
	}
	return o
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
		Remember: func(ctx context.Context, token []byte) error {
			return p.work.Remember(ctx, post.ID, t.ID, token)
		},
	}
	var failure *platform.Failure
	var err error
	if pub.Content, err = p.content(ctx, post); err == nil && p.o.Connections != nil {
		pub.Credentials, failure, err = p.open(ctx, post, opened)
	}
	// Not begun without any time left: of what is cut off at once nobody knows what came, while up to here it is certain
	// that nothing was sent.
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
		o := &store.Outcome{Failure: notSent}
		if t.Queued && (errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil) { // nobody is there who would send it again
			o.Again = p.again(p.o.Clock.Now().Add(time.Minute), t.DueAt)
		}
		return pub, o
	case failure != nil:
		o := p.unopened(t, failure)
		return pub, &o
	}
	return pub, nil
}

// Opening is a post's account that is being opened while the attempt at the post is being stored: somebody waits for
// both, and neither needs the other. Nothing is sent by it before the attempt is stored.
type Opening struct {
	done    chan struct{}
	with    platform.Credentials
	failure *platform.Failure
	err     error
}

// Open begins to open a post's account. Only that of a request's first post is: of several, the others are opened while
// that one is being sent.
func (p *Publisher) Open(ctx context.Context, post store.Post) *Opening {
	if p.o.Connections == nil {
		return nil
	}
	o := &Opening{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.with, o.failure, o.err = p.o.Connections.Open(ctx, post.AccountID)
	}()
	return o
}

// open opens a post's account, unless that has been done. An error of that earlier try does not count: its request
// may have ended, and the attempt has not.
func (p *Publisher) open(
	ctx context.Context, post store.Post, ahead *Opening,
) (platform.Credentials, *platform.Failure, error) {
	if ahead != nil {
		if <-ahead.done; ahead.err == nil {
			return ahead.with, ahead.failure, nil
		}
	}
	return p.o.Connections.Open(ctx, post.Account.ID)
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
