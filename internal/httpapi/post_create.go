// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// createPosts is the body of a request to publish.
type createPosts struct {
	Targets      []target      `json:"targets" minItems:"1" maxItems:"25" doc:"Where it goes: one post is made for each."`
	Text         string        `json:"text,omitempty" doc:"The text of targets that have none of their own."`
	Media        []mediaInput  `json:"media,omitempty" doc:"The media of targets that have none of their own."`
	FirstComment *firstComment `json:"firstComment,omitempty" doc:"That of targets that have none of their own."`
	PublishNow   *bool         `json:"publishNow,omitempty" doc:"What happens without scheduledAt anyway."`
	ScheduledAt  *time.Time    `json:"scheduledAt,omitempty" doc:"When to publish, at least a second from now; without it, at once."`
	ProfileID    *string       `json:"profileId,omitempty" doc:"Only accounts of this profile are meant."`
}

// target is one account that a post goes to.
type target struct {
	AccountID    *string           `json:"accountId,omitempty" doc:"This, or platform, or both."`
	Platform     *string           `json:"platform,omitempty" enum:"bluesky,linkedin" doc:"Enough if the key reaches one account of it."`
	Text         *string           `json:"text,omitempty"`
	Media        *[]mediaInput     `json:"media,omitempty"`
	FirstComment *firstComment     `json:"firstComment,omitempty"`
	Options      *platform.Options `json:"options,omitempty" doc:"What only this platform knows."`
}

type firstComment struct {
	Text string `json:"text" doc:"A reply that is published after the post."`
}

// mediaInput is a file of a post.
type mediaInput struct {
	Kind    string `json:"kind" enum:"image,video"`
	AltText string `json:"altText,omitempty"`
	MediaID string `json:"mediaId,omitempty" doc:"Of POST /v1/media."`

	URL         string `json:"url,omitempty" doc:"Not taken yet: upload the file."`
	BytesBase64 string `json:"bytesBase64,omitempty" doc:"Not taken yet: upload the file."`
}

// batch is what became of a request to publish.
type batch struct {
	ID          string         `json:"id"`
	Status      string         `json:"status" enum:"queued,published,partial_failed,failed"`
	CreatedAt   time.Time      `json:"createdAt"`
	ScheduledAt *time.Time     `json:"scheduledAt,omitempty"`
	Results     []targetResult `json:"results" doc:"In the order of targets."`
}

type targetResult struct {
	AccountID       string             `json:"accountId"`
	Platform        string             `json:"platform" enum:"bluesky,linkedin"`
	PostID          string             `json:"postId"`
	Status          string             `json:"status" enum:"queued,publishing,published,failed,rejected,canceled"`
	URI             string             `json:"uri,omitempty"`
	CID             string             `json:"cid,omitempty"`
	FirstCommentURI string             `json:"firstCommentUri,omitempty"`
	FirstCommentCID string             `json:"firstCommentCid,omitempty"`
	Warnings        []platform.Warning `json:"warnings,omitempty"`
	Error           *platform.Failure  `json:"error,omitempty"`
}

// createPosts makes a post for each target, and publishes them unless they are for later. What is wrong with one target
// is found out before anything is stored, and then nothing is.
func (a *API) createPosts(r *request, in createPosts) (batch, error) {
	if r.claimed != nil && r.claimed.BatchID != "" {
		return a.resume(r, r.claimed.BatchID)
	}
	posts, err := a.plan(r, in)
	if err != nil {
		return batch{}, err
	}
	if in.ScheduledAt != nil {
		return commit(a, r, func(ctx context.Context, tx *store.Tx) (batch, error) {
			r.status = http.StatusAccepted
			if _, err := tx.AddPosts(posts); err != nil {
				return batch{}, orNotFound(err, errTargetGone)
			}
			return batchOf(posts), a.config.Publisher.Enqueue(ctx, tx, posts)
		})
	}
	return a.publishNow(r, posts)
}

// errTargetGone is for an account or a file that was there a moment ago.
var errTargetGone = &problem{
	status: http.StatusNotFound, code: codeNotFound,
	message:     "An account or a media file of the request has just been deleted.",
	remediation: "GET /v1/accounts and GET /v1/media list what the key reaches.",
}

// publishNow commits posts with a first attempt at each, makes the attempts, and records how they ended together with
// the answer. From the commit on, neither a revocation nor the caller's going away stops it: what was begun is
// recorded.
func (a *API) publishNow(r *request, posts []store.Post) (batch, error) {
	var attempts []store.Attempt
	err := authn.Commit(r.context(), func(ctx context.Context) error {
		return a.view(r).Write(ctx, func(tx *store.Tx) (err error) {
			if attempts, err = tx.AddPosts(posts); err != nil {
				return orNotFound(err, errTargetGone)
			}
			if r.claimed != nil {
				return tx.Begin(r.claimed, posts[0].BatchID)
			}
			return nil
		})
	})
	if err != nil {
		a.undo(r, posts[0].BatchID, err)
		return batch{}, err
	}
	detached := context.WithoutCancel(r.context())
	_ = r.connection.SetWriteDeadline(
		a.config.Clock.Now().Add(publishWithin),
	) // it may take longer than the server gives others
	outcomes := a.config.Publisher.Publish(detached, posts, attempts)
	for i, o := range outcomes {
		posts[i].Status, posts[i].Receipt, posts[i].Failure = o.Status(), o.Receipt, o.Failure
	}
	return batchOf(posts), a.record(detached, r, posts, outcomes)
}

// undo sees to it that nothing is left of posts whose commit has failed with err. While the database is away, that may
// have been committed all the same: then it would wait for attempts that nobody makes.
func (a *API) undo(r *request, batchID string, err error) {
	if !errors.Is(err, store.ErrUnavailable) {
		return
	}
	view := a.view(r)
	a.config.Publisher.RecordLater(func(ctx context.Context) error {
		return view.Write(ctx, func(tx *store.Tx) error { return tx.Undo(batchID) })
	})
}

// record stores how attempts ended, together with the answer. Should the database be away, that goes on after the
// request has been answered: so nothing of the request is touched then.
func (a *API) record(ctx context.Context, r *request, posts []store.Post, outcomes []store.Outcome) error {
	if err := r.body.encode(batchOf(posts)); err != nil {
		return err
	}
	r.encoded = true
	view, claim := a.view(r), r.claimed
	answer := store.Stored{Status: r.successStatus(), Body: bytes.Clone(r.body.buffer.Bytes()), BodyHash: r.hash}
	finish := func(tx *store.Tx) error { return tx.Finish(outcomes) }
	err := a.config.Publisher.Record(ctx, outcomes, func(ctx context.Context) error {
		if claim == nil {
			return view.Write(ctx, finish)
		}
		err := view.Write(ctx, func(tx *store.Tx) error {
			if err := finish(tx); err != nil {
				return err
			}
			return tx.Settle(claim, answer)
		})
		if errors.Is(err, store.ErrClaimLost) { // somebody else answers; what became of the posts is known here alone
			return view.Write(ctx, finish)
		}
		return err
	})
	r.settled = err == nil
	return err
}

// publishWithin is how long the answer to a request to publish may take: 25 targets, five at a time, 20 s each, and a
// margin.
const publishWithin = 3 * time.Minute

// resume answers a request whose process died when its posts were on record already. Nothing is published again: an
// attempt that was running then has failed with an unknown outcome.
func (a *API) resume(r *request, batchID string) (batch, error) {
	if err := a.config.Publisher.FailLost(r.context()); err != nil {
		return batch{}, err
	}
	// Before the transaction: in it, a second connection would be waited for with the first one in hand.
	posts, err := a.view(r).Batch(r.context(), batchID)
	if err != nil {
		return batch{}, err
	}
	waiting := func(p store.Post) bool { return p.Status == store.Publishing }
	if len(posts) == 0 || slices.ContainsFunc(posts, waiting) {
		return batch{}, errRunning // its process lives after all, and is about to record how it ended, or to undo it
	}
	return commit(a, r, func(context.Context, *store.Tx) (batch, error) { return batchOf(posts), nil })
}

// batchOf shows the posts of one request.
func batchOf(posts []store.Post) batch {
	b := batch{Results: make([]targetResult, 0, len(posts))}
	published, waiting := 0, 0
	for _, p := range posts {
		b.ID, b.CreatedAt, b.ScheduledAt = p.BatchID, p.CreatedAt.UTC(), timeOrNull(p.ScheduledAt)
		switch p.Status {
		case store.Published:
			published++
		case store.Queued, store.Publishing:
			waiting++
		}
		b.Results = append(b.Results, targetResult{
			AccountID: p.AccountID, Platform: string(p.Platform), PostID: p.ID, Status: string(p.Status),
			URI: p.Receipt.URI, CID: p.Receipt.CID,
			FirstCommentURI: p.Receipt.FirstCommentURI, FirstCommentCID: p.Receipt.FirstCommentCID,
			Warnings: p.Receipt.Warnings, Error: p.Failure,
		})
	}
	switch {
	case waiting > 0:
		b.Status = "queued"
	case published == len(posts):
		b.Status = "published"
	case published > 0:
		b.Status = "partial_failed"
	default:
		b.Status = "failed"
	}
	return b
}

var errScheduledAt = errInvalid(
	"scheduledAt.future",
	"scheduledAt is not at least a second from now.",
	"Leave it out to publish at once.",
)

// checkSchedule checks that a time is to come; nil is none.
func (a *API) checkSchedule(at *time.Time) error {
	const lastYear = 9999 // that RFC 3339 can write
	if at != nil && (at.Before(a.config.Clock.Now().Add(time.Second)) || at.UTC().Year() > lastYear) {
		return errScheduledAt
	}
	return nil
}
