// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"time"
)

// Publisher sends posts to one platform. It must be safe for use by several goroutines.
type Publisher interface {
	// Preflight says what the platform would refuse, without asking it: a failure with CodePreflightFailed, or nil.
	Preflight(Content) *Failure
	// Publish sends a post, once: it tries nothing again that the platform may have taken. It must heed ctx. An error is a
	// mistake of ours, or the end of ctx, and leaves unknown whether the platform has the post.
	Publish(context.Context, Publication) (Outcome, error)
}

// Asker finds out what became of a post. A platform that has none can't be asked: attempts at it whose outcome is
// unknown are for a person to look at.
type Asker interface {
	// Ask finds out what became of an earlier attempt at the same publication that ended as OutcomeUnknown. Where the
	// platform can't be looked at, it sends the post again in a way that the platform recognizes it by: in the end the
	// post is there once. token is that attempt's; nil if its process died before it could say, so whatever can be derived
	// from PostID must be, or be remembered in time (Publication).
	Ask(ctx context.Context, p Publication, token []byte) (Outcome, error)
}

// Looker looks whether a platform has a post, and sends nothing. It is for whoever wants a post canceled of which that
// is not known. A platform that can only be asked by sending the post again has none.
type Looker interface {
	// Look returns Published, or NotTaken if the platform has nothing of the post now: what it was sent may yet be on its
	// way. All else says that it could not be found out.
	Look(ctx context.Context, p Publication) (Outcome, error)
}

// Publication is a post on its way to an account.
type Publication struct {
	// PostID is ours, and the same in every attempt. A platform that lets us choose the id of a record derives it from
	// this, so that a second attempt can't make a second post.
	PostID string
	// FirstSentAt is when the first attempt began that the platform may have taken, to the microsecond: the same in every
	// attempt, and so part of what a platform recognizes the post by.
	FirstSentAt time.Time
	To          Account
	Content     Content
	Credentials Credentials
	// Remember stores what Ask is to be given as the token, should this process die before the attempt has an outcome.
	// It is for what can't be derived from PostID, and is called before the platform is sent what depends on it.
	Remember func(ctx context.Context, token []byte) error
}

// Account is where a post goes.
type Account struct {
	ID                string // ours
	Platform          Name
	PlatformAccountID string // the platform's, such as a DID
}

// Outcome is what became of an attempt: Published, Rejected, NotTaken or OutcomeUnknown, and nothing else. They are
// apart because only NotTaken may be tried again blindly, and only OutcomeUnknown has to be asked about.
type Outcome interface{ isOutcome() }

// Published is a post that the platform took.
type Published struct{ Receipt Receipt }

// Rejected is a post that the platform does not have and will not take: sending it again changes nothing.
type Rejected struct{ Failure Failure }

// NotTaken is a post that the platform certainly does not have, because it was not asked, or did not want to be asked
// now. It is safe to try again.
type NotTaken struct {
	Failure Failure
	// NotBefore is when to try again by itself, the earliest: the post stays queued until then. Zero: not by itself.
	NotBefore time.Time
}

// OutcomeUnknown is a post that the platform may or may not have. Sending it again may publish it twice; Ask does not.
type OutcomeUnknown struct {
	Failure Failure
	// Token is what Ask needs, such as the key of the record; only the platform can read it. It holds no secret.
	Token []byte
	// NotBefore is when to ask, the earliest. Zero: the platform has not said.
	NotBefore time.Time
}

func (Published) isOutcome()      {}
func (Rejected) isOutcome()       {}
func (NotTaken) isOutcome()       {}
func (OutcomeUnknown) isOutcome() {}

// Receipt is what a platform gives for a post that it took.
type Receipt struct {
	URI, CID                         string
	FirstCommentURI, FirstCommentCID string // "" without a first comment
	Warnings                         []Warning
}

// Warning is what the author should know of a post that was published.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// organizationKey is where a context says whose an attempt is.
type organizationKey struct{}

// InTurnOf is ctx of what is done for an organization, by its id: where the accounts of all organizations share what
// there is little of, they take turns by that.
func InTurnOf(ctx context.Context, organization string) context.Context {
	return context.WithValue(ctx, organizationKey{}, organization)
}

// OrganizationOf returns whose the work in ctx is; "": that is not known, which counts as of one.
func OrganizationOf(ctx context.Context) string {
	organization, _ := ctx.Value(organizationKey{}).(string)
	return organization
}
