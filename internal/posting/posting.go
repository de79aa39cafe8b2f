// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package posting is how a post comes about and what becomes of it by somebody's wish: it is planned, created, sent at
// once or put off, changed, canceled, tried again.
//
// It knows callers and not how they ask: no request and no response, so that a page with a form can use it as a
// route does.
// What it refuses is a *problem.Problem. What it changes goes through a write.Operation, and what is sent goes through
// package publish.
package posting

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// Options are what Posting is made of. All are required.
type Options struct {
	Store     *store.DB
	Publisher *publish.Publisher
	Profiles  caller.Directory
	NewID     func() string // a UUIDv7
	Clock     clock.PassiveClock
}

// Posting makes posts and changes them. It keeps nothing between calls: any number may run at once. What must not be
// done twice, the store decides.
type Posting struct{ o Options }

// New checks nothing: cmd/api makes the only one, of what it has made before.
func New(o Options) *Posting { return &Posting{o} }

// Bounds of one draft. Platforms take less; these keep a request from costing more than it is worth to check.
const (
	MaxTargets = 25
	MaxMedia   = 20     // of one target
	MaxText    = 20_000 // characters
	// A character may have four bytes, and what people see as one has no bound: so texts have one in bytes, too. It is
	// beyond what any platform takes.
	MaxTextBytes = 60_000
	MaxAltBytes  = 20_000
	// maxDraftBytes is of all posts together. What targets share is stored with each of them.
	maxDraftBytes = 1 << 20
)

// Draft is what somebody wants to be published. Its pointers tell what was left out from what is empty.
type Draft struct {
	Targets []Target // 1 to MaxTargets
	// Text, Media and FirstComment are those of targets that have none of their own.
	Text         string
	Media        []Media
	FirstComment *string
	PublishNow   *bool      // true excludes ScheduledAt, false needs it; nil: whatever ScheduledAt says
	ScheduledAt  *time.Time // nil: at once
	ProfileID    *string    // only accounts of this profile are meant; nil: all that the caller reaches
}

// Target is one account that a draft goes to: by its id, or by its platform if the caller reaches one account of it.
type Target struct {
	AccountID    *string
	Platform     *platform.Name
	Text         *string
	Media        *[]Media
	FirstComment *string
	Options      *platform.Options
}

// Media is a file of a draft. Of its three origins, only the id of an upload is taken so far.
type Media struct {
	Kind, AltText string
	MediaID       string
	URL           string
	BytesBase64   string
}

// AnswerWithin is how long Create may take once its posts are stored: 25 targets, five at a time, 20 s each, and a
// margin to write down what became of them. The attempts take 100 s at most; the rest is the database's.
const AnswerWithin = 3 * time.Minute

// Batch is the posts of one request, in the order of its targets, which is how callers tell them apart. It has no row:
// its id is on each of its posts, and everything else follows from them.
type Batch struct {
	Posts []store.Post
	// Scheduled tells that this very request has put them off. The posts alone don't tell it: a scheduled one may have
	// been published by the time that it is looked at.
	Scheduled bool
}

// BatchStatus is what became of a batch.
type BatchStatus string

// The statuses of batches.
const (
	BatchQueued        BatchStatus = "queued"         // something of it is still to come
	BatchPublished     BatchStatus = "published"      // all of it
	BatchPartialFailed BatchStatus = "partial_failed" // some of it
	BatchFailed        BatchStatus = "failed"         // none of it
)

// BatchStatuses lists them all, for whoever documents them.
var BatchStatuses = []BatchStatus{BatchQueued, BatchPublished, BatchPartialFailed, BatchFailed}

// Status sums up what became of the posts. One that is still to come outweighs all else: the sum is not known before. A
// canceled one counts as one that was not published. It is asked of the posts each time, and stored only as part of an
// answer.
func (b Batch) Status() BatchStatus {
	published, waiting := 0, 0
	for _, p := range b.Posts {
		switch p.Status {
		case store.Published:
			published++
		case store.Queued, store.Publishing:
			waiting++
		}
	}
	switch {
	case waiting > 0:
		return BatchQueued
	case published == len(b.Posts):
		return BatchPublished
	case published > 0:
		return BatchPartialFailed
	default:
		return BatchFailed
	}
}

// Create makes a post for each target of a draft, and sends them unless they are for later. What is wrong with one
// target is found out before anything is stored, and then nothing is: half a batch that can't be sent again as it was
// would be worse than none.
//
// A request that was begun before is not run again, unless that was undone: see resume. That is looked at first, since
// the draft may well be wrong by now: an account may be gone, or the time have come.
func (p *Posting) Create(
	ctx context.Context, by *caller.Caller, op *write.Operation, d Draft, answer write.Answer[Batch],
) (Batch, error) {
	if batchID := op.Begun(); batchID != "" {
		if b, undone, err := p.resume(ctx, by, op, batchID, answer); !undone {
			return b, err
		}
	}
	posts, err := p.plan(ctx, by, d)
	if err != nil {
		return Batch{}, err
	}
	if d.ScheduledAt == nil {
		return p.publishNow(platform.InTurnOf(ctx, by.Organization.ID), op, posts, answer)
	}
	return write.Commit(ctx, op, answer, func(ctx context.Context, tx *store.Tx) (Batch, error) {
		if _, err := tx.AddPosts(posts); err != nil {
			return Batch{}, OrNotFound(err, errTargetGone)
		}
		// The jobs are in the same transaction, or a crash would leave posts that nobody is reminded of.
		return Batch{Posts: posts, Scheduled: true}, p.o.Publisher.Enqueue(ctx, tx, posts)
	})
}

// publishNow stores posts with a first attempt at each, makes the attempts, and records how they ended together with
// the answer. Once they are stored, neither a revocation nor the caller's going away stops it: what was begun is
// recorded. Between Begin and Finish the database is not held: a transaction that waits for platforms would hold a
// connection, and with SQLite every other writer.
func (p *Posting) publishNow(
	ctx context.Context, op *write.Operation, posts []store.Post, answer write.Answer[Batch],
) (Batch, error) {
	var attempts []store.Attempt
	// A plan has one target at least, so there is a first post. Its account is opened while the attempt is being stored.
	// That reads and sends nothing: if Begin fails, nothing is left of it.
	opened := p.o.Publisher.Open(ctx, posts[0])
	err := op.Begin(ctx, posts[0].BatchID, func(tx *store.Tx) (err error) {
		attempts, err = tx.AddPosts(posts)
		return OrNotFound(err, errTargetGone)
	})
	if err != nil {
		return Batch{}, err
	}
	// From here on, see above; the values of ctx stay, such as the trace. Finish asks for no commit point, because Begin
	// has passed it for both.
	detached := context.WithoutCancel(ctx)
	outcomes := p.o.Publisher.Publish(detached, posts, attempts, opened)
	// What was stored is not read again: what became of the posts is known here before the database knows it.
	for i, o := range outcomes {
		// A post that is tried again has not failed: as in the store, its attempt tells what kept it from going out.
		if posts[i].Status, posts[i].Receipt = o.Status(), o.Receipt; posts[i].Status != store.Queued {
			posts[i].Failure = o.Failure
		}
	}
	b := Batch{Posts: posts}
	// What is on a platform is written down even if it can't be told.
	var told *store.Stored
	stored, unanswered := answer(b)
	if unanswered == nil {
		told = &stored
	}
	op.Retraceable = p.o.Publisher.Retraceable(posts, outcomes)
	err = op.Finish(told, func(transaction func(context.Context) error) error {
		return p.o.Publisher.Record(detached, outcomes, transaction)
	}, func(tx *store.Tx) error { return p.o.Publisher.Finish(detached, tx, outcomes) })
	return b, errors.Join(unanswered, err)
}

// resume answers a request whose process died when its posts were stored already. Nothing is published again: an
// attempt that was running then has failed with an unknown outcome. The answer is made by the same function as that of
// the first run, so the caller can't tell the two apart but by the outcomes.
//
// A process that lives after all, and has only lost the claim, is waited for: it is about to record how the posts
// ended, or to undo them, since it does not know whether it has begun. undone tells the latter: then the request may be
// run.
func (p *Posting) resume(
	ctx context.Context, by *caller.Caller, op *write.Operation, batchID string, answer write.Answer[Batch],
) (b Batch, undone bool, err error) {
	running := func(post store.Post) bool { return post.Status == store.Publishing }
	err = op.Await(ctx, func(ctx context.Context) (bool, error) {
		// Not left to the upkeep: the caller waits, and the posts have to be over before they can be answered.
		if err := p.o.Publisher.SettleLost(ctx); err != nil {
			return false, err
		}
		// Before the transaction: in it, reading would wait for a second connection while holding the first one, and with as
		// many such requests as there are connections, nobody would get one.
		posts, err := p.o.Store.View(by).Batch(ctx, batchID)
		b.Posts = posts
		return !slices.ContainsFunc(posts, running), err
	})
	if err != nil || len(b.Posts) == 0 {
		return Batch{}, err == nil, err
	}
	b, err = write.Commit(ctx, op, answer, func(context.Context, *store.Tx) (Batch, error) { return b, nil })
	return b, false, err
}

// now is the time of a write. A post that is answered before it is read again has this very time.
func (p *Posting) now() time.Time { return write.Now(p.o.Clock) }

// checkSchedule checks that a time is to come; nil is none. A second is the least that can be kept: what is due by the
// time that it is stored would be published at once, by a request that is told 202.
func (p *Posting) checkSchedule(at *time.Time) error {
	switch {
	case at == nil:
		return nil
	case at.Before(p.o.Clock.Now().Add(time.Second)):
		return errScheduledAt
	case at.After(lastTime):
		return errScheduledLate
	}
	return nil
}

// lastTime is the last second that RFC 3339 can write: a later time could be stored and never be shown. So could a part
// of a second after it, which the queue rounds up.
var lastTime = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// OrNotFound returns p, which says what kind of thing it was, if err is that it was not found in the database; other
// errors stay. The store has one error for all kinds, and for what is there but not for the caller: so nothing made of
// it can tell the two apart. Each caller of the store names the thing, as only it knows what it asked for.
func OrNotFound(err error, p *problem.Problem) error {
	if errors.Is(err, store.ErrNotFound) {
		return p
	}
	return err
}
