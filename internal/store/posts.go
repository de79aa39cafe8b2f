// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Status is where a post stands.
type Status string

// The statuses. Queued, publishing and published follow each other; the others end the way.
const (
	Queued     Status = "queued"     // it waits for its time
	Publishing Status = "publishing" // an attempt is running
	Published  Status = "published"
	Failed     Status = "failed"   // it may go better another time
	Rejected   Status = "rejected" // it will not go better unless something is changed
	Canceled   Status = "canceled"
)

// Post is one text for one account.
type Post struct {
	ID           string
	BatchID      string      // the request that it was made by
	ProfileID    string      // "": of the organization alone
	KeyID        string      // UID of the ApiKey that it was made with
	AccountID    string      // "" once the account is gone
	Account      *AccountRef // nil once the account is gone
	Platform     platform.Name
	Status       Status
	Text         string
	Media        []MediaRef
	FirstComment string
	Options      *platform.Options
	ScheduledAt  time.Time        // zero: at once
	PublishedAt  time.Time        // zero: not yet
	Receipt      platform.Receipt // zero until it is published
	Failure      *platform.Failure
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// AccountRef is what a post shows of its account.
type AccountRef struct {
	ID                string
	Platform          platform.Name
	PlatformAccountID string
	DisplayName       string
}

// MediaRef is a file of a post.
type MediaRef struct {
	Kind    string `json:"kind"`
	MediaID string `json:"mediaId"`
	AltText string `json:"altText,omitempty"`
}

// Attempt is one try to publish a post.
type Attempt struct {
	ID         string
	PostID     string
	Number     int // from 1
	StartedAt  time.Time
	FinishedAt time.Time         // zero while it runs
	Failure    *platform.Failure // nil: it succeeded, or runs
}

// Outcome is how an attempt ended.
type Outcome struct {
	Attempt Attempt
	Receipt platform.Receipt
	Failure *platform.Failure // nil: it was published
}

// PostFilter narrows a listing. Empty fields do not.
type PostFilter struct {
	Platforms, Statuses, ErrorCodes []string
	Query                           string    // part of the text, in any case
	After, Before                   time.Time // of creation: from After on, and before Before
}

// Posts lists posts. more tells whether there are any after the last of these.
func (v *View) Posts(ctx context.Context, f PostFilter, p Page) (posts []Post, more bool, err error) {
	panic("TODO")
}

// Post returns one post. Without it, or with an id that is none, the error is ErrNotFound.
func (v *View) Post(ctx context.Context, id string) (Post, error) { panic("TODO") }

// Attempts returns the attempts at a post, oldest first.
func (v *View) Attempts(ctx context.Context, postID string) ([]Attempt, error) { panic("TODO") }

// Batch returns the posts of a request, in the order in which they were added.
func (v *View) Batch(ctx context.Context, batchID string) ([]Post, error) { panic("TODO") }

// AddPosts adds posts in the order given: those that are Publishing with their first attempt, which is returned in the
// same order. ID, BatchID, ProfileID, AccountID, KeyID, Platform, Status, Text, Media, FirstComment, Options, ScheduledAt
// and CreatedAt are the caller's to set. An account, profile or medium that the view does not reach is ErrNotFound, and so
// is an account that is gone since it was looked up.
func (tx *Tx) AddPosts(posts []Post) ([]Attempt, error) { panic("TODO") }

// Edit changes a queued post that is still to come. Nil fields stay as they are. ErrState: it is not queued any more, or is due.
type Edit struct {
	Text        *string
	Media       *[]MediaRef
	ScheduledAt *time.Time
}

// EditPost makes an edit, and returns the post as it is after it.
func (tx *Tx) EditPost(id string, e Edit) (Post, error) { panic("TODO") }

// CancelPost cancels a queued post. ErrState: it is not queued.
func (tx *Tx) CancelPost(id string) (Post, error) { panic("TODO") }

// RequeuePost queues a post again, for a time; zero is at once. ErrState: it is not failed, rejected or canceled, or its account is gone.
// keyID is that of the key that asks for it, which the post is from now on of.
func (tx *Tx) RequeuePost(id, keyID string, at time.Time) (Post, error) { panic("TODO") }

// Finish records how attempts ended, and with it what became of their posts. An attempt that is not its post's running one any more is
// left alone: somebody else has settled it.
func (tx *Tx) Finish(outcomes []Outcome) error { panic("TODO") }

// Start begins an attempt at a queued post whose time has come. ErrState: it is not queued, or its time has not come;
// ErrNotFound: it is gone.
func (w *Work) Start(ctx context.Context, postID string) (Post, Attempt, error) { panic("TODO") }

// Finish is that of Tx, in a transaction of its own.
func (w *Work) Finish(ctx context.Context, outcomes []Outcome) error { panic("TODO") }

// FailLost ends the attempts of processes that are dead. Whether the platform took the post is not known, so it becomes
// Failed with failure and is not tried again by itself. It returns how many there were.
func (w *Work) FailLost(ctx context.Context, failure platform.Failure) (int, error) { panic("TODO") }

// Overdue returns the ids of queued posts whose time was before then, oldest first, at most limit.
func (w *Work) Overdue(ctx context.Context, then time.Time, limit int) ([]string, error) {
	panic("TODO")
}

// CancelQueuedBy cancels all queued posts that were made with a key, and returns how many there were.
func (w *Work) CancelQueuedBy(ctx context.Context, keyID string) (int, error) { panic("TODO") }
