// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Status is where a post stands. The words are stored, so they stay.
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

// Post is one text for one account. A request for several accounts makes one post each, so that each goes out, fails
// and is tried again by itself.
type Post struct {
	ID           string
	BatchID      string      // the request that it was made by
	ProfileID    string      // "": of the organization alone
	MadeBy       string      // caller.Actor.Ref of whoever made it, or has queued it again since
	AccountID    string      // "" once the account is gone
	Account      *AccountRef // nil once the account is gone
	Platform     platform.Name
	Status       Status
	Text         string
	Media        []MediaRef
	FirstComment string
	Options      *platform.Options
	ScheduledAt  time.Time         // zero: at once
	PublishedAt  time.Time         // zero: not yet
	Receipt      platform.Receipt  // zero until it is published
	Failure      *platform.Failure // why it failed or was rejected; nil: it did not
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// AccountRef is what a post shows of its account. It is read with the post, and so never out of date.
type AccountRef struct {
	ID                string
	Platform          platform.Name
	PlatformAccountID string
	DisplayName       string
}

// MediaRef is a file of a post, as it is stored: the names of its fields must stay.
type MediaRef struct {
	Kind    string `json:"kind"`
	MediaID string `json:"mediaId"` // "" in what is shown of a file that the view does not reach
	AltText string `json:"altText,omitempty"`
}

// Attempt is one try to publish a post. It is stored before anything is sent: if the process dies, what is found says
// that the post may have gone out.
type Attempt struct {
	ID         string
	PostID     string
	Number     int // from 1
	StartedAt  time.Time
	FinishedAt time.Time         // zero while it runs
	Failure    *platform.Failure // nil: it succeeded, or runs
}

// Try is an attempt that is about to be made, with what earlier ones have left for it.
type Try struct {
	Attempt
	// FirstSentAt is when the first attempt began that the platform may have taken: this one, if there was none.
	FirstSentAt time.Time
	// Ask tells that the platform may have the post since an earlier attempt, and is to be asked; Token is what that
	// attempt left for it.
	Ask   bool
	Token []byte
	// DueAt is when the post was to go; Queued tells that it waited for that in the queue, and nobody for the answer.
	DueAt  time.Time
	Queued bool
}

// FirstTry is the attempt that a post was added with.
func FirstTry(a Attempt) Try { return Try{Attempt: a, FirstSentAt: a.StartedAt, DueAt: a.StartedAt} }

// Outcome is how an attempt ended. It is made where the attempt was, and stored by whoever has what else to write with
// it.
type Outcome struct {
	Attempt Attempt
	Receipt platform.Receipt
	Failure *platform.Failure // nil: it was published
	// Again is when the post is to be tried again, the earliest; zero: the attempt was the last.
	Again time.Time
	// Unsettled tells that the platform may have the post: the next attempt asks, with Token.
	Unsettled bool
	Token     []byte
}

// Status is what becomes of the post. A rejection is told from a failure by its code: only a failure may go better
// without a change.
func (o Outcome) Status() Status {
	switch {
	case o.Failure == nil:
		return Published
	case !o.Again.IsZero():
		return Queued
	}
	switch o.Failure.Code {
	case platform.CodePreflightFailed, platform.CodeAuthFailed, platform.CodeRejected:
		return Rejected
	default:
		return Failed
	}
}

// PostFilter narrows a listing. Empty fields do not.
type PostFilter struct {
	Platforms, Statuses, ErrorCodes []string
	Accounts                        []string  // by their ids
	Query                           string    // part of the text, in any case
	After, Before                   time.Time // of creation: from After on, and before Before
}
