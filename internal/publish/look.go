// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	// lookWithin bounds what a platform takes for it: a caller waits.
	lookWithin = 10 * time.Second
	// arrivesWithin is how long after an attempt has ended what it sent may still get to its platform, or be worked on
	// there. A platform that does not have the post by then does not get it any more.
	arrivesWithin = 30 * time.Second
	// heldAfterLook keeps a post from being sent while whoever has asked for the look makes up their mind.
	heldAfterLook = time.Minute
)

// isNotThere is how a look ends that has found nothing, and stillUnknown how one ends that has found nothing out.
var (
	isNotThere = &platform.Failure{
		Code: platform.CodeUnavailable, Rule: RuleNotSent,
		Message: "The platform was asked whether it has the post, and does not have it.",
	}
	stillUnknown = &platform.Failure{
		Code: platform.CodeUnavailable, Rule: RuleOutcomeUnknown, Remediation: look,
		Message: "It could not be found out whether the platform has the post.",
	}
)

// Settle finds out whether a platform has a post that is queued because nobody knows it, and sends nothing. The post is
// then published, or queued as one that was not sent. Where it can't be found out it stays as it is, which is no error.
func (p *Publisher) Settle(ctx context.Context, postID string) error {
	post, try, last, err := p.work.StartLook(ctx, postID)
	switch {
	case errors.Is(err, store.ErrState), errors.Is(err, store.ErrNotFound):
		return nil // somebody else was faster
	case err != nil:
		p.takeBack(try)
		return err
	}
	// A look is an attempt that somebody waits for, and no job: the end of Run has to wait for it as for a request's.
	p.requests.enter([]store.Attempt{try.Attempt})
	o := p.lookFor(ctx, post, try, last)
	if o.Failure != nil {
		o.Again = p.o.Clock.Now().Add(heldAfterLook)
	}
	o.Attempt = try.Attempt
	o.Attempt.FinishedAt, o.Attempt.Failure = p.o.Clock.Now(), o.Failure
	outcomes := []store.Outcome{o}
	// Its job is gone, or about to end: should nobody cancel the post, it comes again with the overdue.
	err = p.Record(ctx, outcomes, func(ctx context.Context) error { return p.work.Finish(ctx, outcomes) })
	if err != nil {
		return fmt.Errorf("settle post %s: %w", postID, err)
	}
	return nil
}

// lookFor asks the platform. last is when the attempt ended that may have got there.
func (p *Publisher) lookFor(ctx context.Context, post store.Post, t store.Try, last time.Time) store.Outcome {
	unknown := store.Outcome{Failure: stillUnknown, Unsettled: true, Token: t.Token}
	to, _ := p.o.Platforms.Get(post.Platform)
	if to.Looker == nil || post.Account == nil {
		return unknown
	}
	// No longer than an attempt either: by that, the end of Run reckons how long to wait.
	ctx, cancel := context.WithTimeout(ctx, min(lookWithin, p.o.Timeout))
	defer cancel()
	pub, early := p.publication(ctx, post, t, nil)
	if early != nil {
		return unknown
	}
	// Before the look, which may take long: what arrives meanwhile may be where it has looked already.
	hasArrived := p.o.Clock.Since(last) >= arrivesWithin
	outcome, err := guarded(func() (platform.Outcome, error) { return to.Looker.Look(ctx, pub) })
	if err != nil {
		p.o.Logger.Error("a platform's part of this server has failed",
			"post", post.ID, "platform", post.Platform, "error", err)
	}
	switch o := outcome.(type) {
	case platform.Published:
		return store.Outcome{Receipt: o.Receipt.Bounded()}
	case platform.NotTaken:
		if hasArrived {
			return store.Outcome{Failure: isNotThere}
		}
	case platform.OutcomeUnknown:
		o.Failure = o.Failure.Bounded()
		unknown.Failure = &o.Failure
	}
	return unknown
}
