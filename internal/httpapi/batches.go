// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// createPosts is the body of a request to publish. Field by field it is the reference's, with what this server does not
// take yet: a client of the reference gets a sentence about it, where an unknown member would look like a typing error.
type createPosts struct {
	Targets      []target      `json:"targets" minItems:"1" maxItems:"25" doc:"Where it goes: one post is made for each."`
	Text         string        `json:"text,omitempty" maxBytes:"60000" doc:"The text of targets that have none of their own."`
	Media        []mediaInput  `json:"media,omitempty" doc:"The media of targets that have none of their own."`
	FirstComment *firstComment `json:"firstComment,omitempty" doc:"That of targets that have none of their own."`
	PublishNow   *bool         `json:"publishNow,omitempty" doc:"true excludes scheduledAt, which is what happens without it anyway; false needs one."`
	ScheduledAt  *time.Time    `json:"scheduledAt,omitempty" doc:"When to publish, at least a second from now; without it, at once. null is refused, unless publishNow says what is meant."`
	ProfileID    *string       `json:"profileId,omitempty" maxBytes:"1048576" doc:"Only accounts of this profile are meant."`
}

// TakesNull tells where null is clear: for no time, beside a publishNow that says what is meant. Without that, it may
// be a time that went missing on its way here, and the post would go out at once.
func (in *createPosts) TakesNull(rule string) bool {
	return rule == "scheduledAt" && in.PublishNow != nil
}

// target is one account that a post goes to. Pointers, because what is left out is the request's, and what is empty is
// the target's own: "text": "" is a post without text. Neither accountId nor platform is required by the shape, as each
// makes the other unnecessary; package posting says what is missing.
type target struct {
	AccountID    *string           `json:"accountId,omitempty" maxBytes:"1048576" doc:"This, or platform, or both."`
	Platform     *platform.Name    `json:"platform,omitempty" doc:"Enough if the key reaches one account of it."`
	Text         *string           `json:"text,omitempty" maxBytes:"60000"`
	Media        *[]mediaInput     `json:"media,omitempty"`
	FirstComment *firstComment     `json:"firstComment,omitempty"`
	Options      *platform.Options `json:"options,omitempty" doc:"What only this platform knows."`
}

// firstComment is an object, and not a text, since the reference has it so. An object can get another member without a
// client noticing.
type firstComment struct {
	Text string `json:"text" maxBytes:"60000" doc:"A reply that is published after the post."`
}

// mediaInput is a file of a post. Its fields are those of posting.Media, in the same order: they are converted at once.
// What is not taken yet is in it all the same, so that it can be refused by name.
type mediaInput struct {
	Kind    string `json:"kind" enum:"image,video"`
	AltText string `json:"altText,omitempty" maxBytes:"20000" doc:"At most 20000 bytes of UTF-8."`
	MediaID string `json:"mediaId,omitempty" maxBytes:"1048576" doc:"Of POST /v1/media."`

	URL         string `json:"url,omitempty" doc:"Not taken yet: upload the file."`
	BytesBase64 string `json:"bytesBase64,omitempty" maxBytes:"1048576" doc:"Not taken yet: upload the file."`
}

// batch is what became of a request to publish. It is made of the posts alone, so that a request that is answered after
// a crash gets the same shape as one that is answered at once. Whether a request for several accounts has succeeded is
// said for each of them, and summed up in status.
type batch struct {
	ID          string              `json:"id" doc:"Of the request, for your records. No endpoint takes it: a post's id is results[].postId."`
	Status      posting.BatchStatus `json:"status"`
	CreatedAt   time.Time           `json:"createdAt"`
	ScheduledAt *time.Time          `json:"scheduledAt,omitempty"`
	Results     []targetResult      `json:"results" doc:"In the order of targets."`
}

// targetResult is what became of one target. What it has not got is left out and not null, unlike in a post: so does
// the reference.
type targetResult struct {
	AccountID       string             `json:"accountId"`
	Platform        platform.Name      `json:"platform"`
	PostID          string             `json:"postId" doc:"Ask for the post by it: GET /v1/posts/{id}."`
	Status          store.Status       `json:"status"`
	URI             string             `json:"uri,omitempty"`
	CID             string             `json:"cid,omitempty"`
	FirstCommentURI string             `json:"firstCommentUri,omitempty"`
	FirstCommentCID string             `json:"firstCommentCid,omitempty"`
	Warnings        []platform.Warning `json:"warnings,omitempty"`
	Error           *platform.Failure  `json:"error,omitempty"`
}

// draft is the body as package posting has it, which a form or a job fills in by other ways. Nothing is checked here:
// rules that stood in a shape would be the contract's alone.
func (in *createPosts) draft() posting.Draft {
	d := posting.Draft{
		Text: in.Text, Media: mediaOf(in.Media), FirstComment: in.FirstComment.text(),
		PublishNow: in.PublishNow, ScheduledAt: in.ScheduledAt, ProfileID: in.ProfileID,
		Targets: make([]posting.Target, 0, len(in.Targets)),
	}
	// Pointers are passed on as they are: what is left out and what is empty stay different until package posting has made
	// a plan.
	for _, t := range in.Targets {
		target := posting.Target{
			AccountID: t.AccountID, Platform: t.Platform, Text: t.Text,
			FirstComment: t.FirstComment.text(), Options: t.Options,
		}
		if t.Media != nil { // an empty list is the target's own: no media, whatever the request has
			own := mediaOf(*t.Media)
			target.Media = &own
		}
		d.Targets = append(d.Targets, target)
	}
	return d
}

// text is that of a comment; nil: there is none. It takes a nil comment, so that nobody has to ask first.
func (c *firstComment) text() *string {
	if c == nil {
		return nil
	}
	return &c.Text
}

// mediaOf is media as package posting has them. None are an empty list, never nil, which in a change would mean "as
// before".
func mediaOf(items []mediaInput) []posting.Media {
	media := make([]posting.Media, 0, len(items))
	for _, m := range items {
		media = append(media, posting.Media(m))
	}
	return media
}

// createPosts publishes, or schedules. A target that its platform refuses is no error: others may have been published
// by then, and the answer has to name them. The caller is passed beside the operation: a draft is checked by what its
// caller reaches, a claim is made by who they are.
func (a *API) createPosts(r *endpoint.Request, in createPosts) (batch, error) {
	if in.ScheduledAt == nil { // else no platform says anything
		// That there are too many targets is for the plan to say: whoever sends a thousand is not to be told that there is no
		// room for the answer.
		if err := r.Reserve(min(len(in.Targets), posting.MaxTargets) * platform.MaxOutcome); err != nil {
			return batch{}, err
		}
	}
	b, err := a.posting.Create(r.Context(), r.Caller(), r.Operation(), in.draft(), endpoint.Answer(r, batchAnswer))
	return batchOf(b), err
}

// batchAnswer tells what is done (200) from what is still to be done (202, RFC 9110 section 15.3.3), by what this
// request has asked for. A batch that is resumed after a crash was to be published at once.
func batchAnswer(b posting.Batch) (int, batch) {
	if b.Scheduled {
		return http.StatusAccepted, batchOf(b)
	}
	return http.StatusOK, batchOf(b)
}

// batchOf shows the posts of one request. Each has the batch's id, time and schedule: there is no row for a batch.
// Beside an error it gets the zero Batch, and what it makes of that is not shown.
func batchOf(b posting.Batch) batch {
	shown := batch{Status: b.Status(), Results: make([]targetResult, 0, len(b.Posts))}
	for _, p := range b.Posts {
		// In UTC: these posts may come from the request itself, and not from the database.
		shown.ID, shown.CreatedAt, shown.ScheduledAt = p.BatchID, p.CreatedAt.UTC(), timeOrNull(p.ScheduledAt)
		shown.Results = append(shown.Results, targetResult{
			AccountID: p.AccountID, Platform: p.Platform, PostID: p.ID, Status: p.Status,
			URI: p.Receipt.URI, CID: p.Receipt.CID,
			FirstCommentURI: p.Receipt.FirstCommentURI, FirstCommentCID: p.Receipt.FirstCommentCID,
			Warnings: p.Receipt.Warnings, Error: p.Failure,
		})
	}
	return shown
}
