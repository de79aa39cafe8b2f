// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package write is the one way in which a request changes anything, whoever sends it and by whatever protocol.
//
// An Operation goes through its steps in this order. A write that is done at once takes Commit, and one that takes long
// takes Begin and Finish:
//
//	Claim    the request is taken for this process, by its Idempotency-Key; or its earlier answer is found. What does
//	         nothing before Commit or Begin may leave it to these (ClaimLate): most requests are sent once
//	Commit   past the commit point, in one transaction: the change and its answer. Most writes end here
//	Begin    past the commit point, in one transaction: the change, whose answer is yet to be known (posts being sent)
//	Finish   in one transaction: what it came to, and its answer; tried until the database is back. That it lasts is
//	         waited for unless all of it can be found out again (Retraceable)
//	End      whatever has no answer by now gets one, if it would be the same another time, or is given up
//
// So whatever dies in between, either nothing was done, or the answer is there; or the change is there, and the answer
// can be made of it by whoever repeats the request (Begun). Without an Idempotency-Key the steps are the same, and
// nothing is claimed or settled.
package write

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Now is the time of a write as the database keeps it, so that its answer says what a later read says. Otherwise a
// client that compares the two would find a change that nobody has made.
func Now(c clock.PassiveClock) time.Time { return c.Now().UTC().Truncate(time.Microsecond) }

// DefaultWait is longer than most clients wait for any answer, and than a write takes whose platform answers at all.
const DefaultWait = time.Minute

// Protocol is what operations have in common.
type Protocol struct {
	// Later does something as soon as the database can be reached, which may be after the request has been answered. It
	// may do it more than once.
	Later  func(do func(context.Context) error)
	Logger *slog.Logger
	// Wait is how long a request waits for the answer of another one with its Idempotency-Key that is running; 0, or
	// less: not at all.
	Wait time.Duration

	waiting waiting
}

// Operation is one write of one caller. The zero Operation is none: make it with Start.
type Operation struct {
	// BodyHash tells the request's body from others under the same Idempotency-Key. It is set before Commit or Finish; ""
	// while it is not known, as of an upload that still runs.
	BodyHash string
	// Unkept says that the answer must not be stored, because it holds a secret: whoever sends the request again has it
	// run again. It is set before Commit.
	Unkept bool
	// Retraceable says that what Finish stores can be found out again, by what Begin has stored: so Finish does not wait
	// until it lasts, and a power failure in this moment is to the operation as if its process had died before Finish. It
	// is set before Finish.
	Retraceable bool
	// OnBegin is called when Begin has made its change, before whatever takes long: an answer is owed from then on.
	// Optional.
	OnBegin func()
	// OnWait is called before the operation waits for another one's answer, with how long that may take. Optional.
	OnWait func(time.Duration)

	protocol *Protocol
	until    time.Time // when it has waited for others for long enough; zero: it has not waited
	view     *store.View
	id       string         // of the request, for the log
	claim    *store.Claim   // nil: there is no Idempotency-Key, or the request was answered before
	late     *store.Request // is claimed by Commit or Begin; nil: none is
	settled  bool           // the answer is stored, with the change
}

// Start returns the operation of one request, on what its caller reaches. id is the request's, for the log.
func (p *Protocol) Start(view *store.View, id string) Operation {
	return Operation{protocol: p, view: view, id: id}
}

// Answer makes of a result what is stored for whoever repeats the request: a status and a body. It may be called more
// than once, if a transaction has to be run again; the last call counts.
type Answer[T any] func(T) (store.Stored, error)

// Claim makes the request this process's to run, or returns the answer that it got before. If it is running, it waits
// for the answer, for as long as the protocol says. The error is store.ErrMismatch, store.ErrInProgress, ctx's, or the
// database's.
func (o *Operation) Claim(ctx context.Context, r store.Request) (stored *store.Stored, err error) {
	inVain := o.Unclaimed() // its change was tried, most likely for the second time: the first may have its answer
	o.late = nil
	if inVain {
		stored, err = o.view.Answered(ctx, r)
		if stored != nil || errors.Is(err, store.ErrMismatch) {
			return stored, err
		}
	}
	if !errors.Is(err, store.ErrInProgress) {
		stored, err = o.tryClaim(ctx, r)
	}
	if !errors.Is(err, store.ErrInProgress) {
		return stored, err
	}
	err = o.wait(ctx, func(within context.Context) (bool, error) {
		if running, err := o.view.Running(within, r); err != nil || running {
			return false, err
		}
		// Not within: a claim that is cut off is in doubt, and somebody has to clear it up.
		stored, err = o.tryClaim(ctx, r)
		if errors.Is(err, store.ErrInProgress) { // somebody else was faster
			return false, nil
		}
		return true, err
	})
	return stored, err
}

// ClaimLate has Commit or Begin claim the request, in their own transaction. It is for an operation that does nothing
// that is seen outside before that, and it finds no earlier answer: while the operation is Unclaimed after an error,
// whatever that was, the request is to be claimed by Claim, and run again.
func (o *Operation) ClaimLate(r store.Request) { o.late = &r }

// Unclaimed tells whether Commit or Begin is to claim the request, and has not.
func (o *Operation) Unclaimed() bool { return o.late != nil }

// claimIn claims the request in the transaction of its change, if that was left to it, and begins batchID; "" for none.
func (o *Operation) claimIn(tx *store.Tx, batchID string) (err error) {
	switch {
	case o.late != nil:
		o.claim, err = tx.Claim(*o.late, batchID)
	case o.claim != nil && batchID != "":
		err = tx.Begin(o.claim, batchID)
	}
	return err
}

// claimedBy makes of how the transaction of claimIn ended whose the request is. Whether it has committed may not be
// known: then the claim may be there, and is abandoned by End.
func (o *Operation) claimedBy(ctx context.Context, err error) {
	switch {
	case o.late == nil:
	case err == nil || errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
		o.late = nil
	default:
		o.claim = nil
	}
}

// tryClaim does not wait.
func (o *Operation) tryClaim(ctx context.Context, r store.Request) (*store.Stored, error) {
	claim, stored, err := o.view.Claim(ctx, r)
	if err != nil {
		if claim != nil { // it may be there in spite of the error
			o.abandonLater(claim)
		}
		return nil, err
	}
	o.claim = claim
	return stored, nil
}

// Begun returns the batch of posts that an earlier process has stored for this very request before it died; "" if there
// is none. Then there is nothing to run: the answer is to be made of them.
func (o *Operation) Begun() string {
	if o.claim == nil {
		return ""
	}
	return o.claim.BatchID
}

// Commit makes a change together with its answer: past the request's commit point, in one transaction. ctx is, or comes
// from, the request's. do may run more than once. If the request was cut meanwhile, the error says so, and nothing was
// done.
func Commit[T any](
	ctx context.Context, o *Operation, answer Answer[T], do func(context.Context, *store.Tx) (T, error),
) (result T, err error) {
	err = authn.Commit(ctx, func(ctx context.Context) error {
		return o.view.Write(ctx, func(tx *store.Tx) error {
			err := o.claimIn(tx, "")
			if err != nil {
				return err
			}
			if result, err = do(ctx, tx); err != nil {
				return err
			}
			stored, err := answer(result)
			if err != nil || o.claim == nil || o.Unkept {
				return err
			}
			stored.BodyHash = o.BodyHash
			err = tx.Settle(o.claim, stored)
			o.settled = err == nil
			return err
		})
	})
	o.claimedBy(ctx, err)
	return result, err
}

// Begin makes a change whose answer is yet to be known: past the request's commit point, in one transaction. batchID
// names what is stored, so that whoever repeats the request finds it. Once it has returned without an error, the
// operation must Finish, in a context that neither a revocation nor the caller's going away ends.
//
// If the database goes away during the commit, this process can't know whether the change was made. It returns the
// error, and has the change undone, should it be there, as soon as the database is back.
func (o *Operation) Begin(ctx context.Context, batchID string, do func(*store.Tx) error) error {
	err := authn.Commit(ctx, func(ctx context.Context) error {
		return o.view.Write(ctx, func(tx *store.Tx) error {
			if err := o.claimIn(tx, batchID); err != nil {
				return err
			}
			return do(tx)
		})
	})
	o.claimedBy(ctx, err)
	if store.InDoubt(err) { // what was surely not done would take room from others', of which there is not any amount
		view := o.view
		o.protocol.Later(func(ctx context.Context) error {
			return view.Write(ctx, func(tx *store.Tx) error { return tx.Undo(batchID) })
		})
	}
	if err == nil && o.OnBegin != nil {
		o.OnBegin()
	}
	return err
}

// Finish stores what a change has come to (do), together with its answer; nil, if there is none, leaves the claim to
// End. It has that transaction run by record, which repeats it until it succeeds: if the database is away, after the
// request has been answered. By then the memory of the request is somebody else's, so the answer is copied, and the
// transaction touches nothing of the operation.
func (o *Operation) Finish(
	answer *store.Stored, record func(func(context.Context) error) error, do func(*store.Tx) error,
) error {
	view, claim := o.view, o.claim
	write := view.Write
	if o.Retraceable {
		write = view.WriteSoon
	}
	var kept store.Stored
	if answer == nil {
		claim = nil
	} else {
		kept = store.Stored{Status: answer.Status, Body: bytes.Clone(answer.Body), BodyHash: o.BodyHash}
	}
	err := record(func(ctx context.Context) error {
		if claim == nil {
			return write(ctx, do)
		}
		err := write(ctx, func(tx *store.Tx) error {
			if err := do(tx); err != nil {
				return err
			}
			return tx.Settle(claim, kept)
		})
		if errors.Is(err, store.ErrClaimLost) { // somebody else answers; what it came to is known here alone
			return write(ctx, do)
		}
		return err
	})
	o.settled = err == nil && answer != nil
	return err
}

// Pending tells whether there is a claim that has no answer yet. failed tells that the request has failed: then an
// answer that was stored on the way does not count.
func (o *Operation) Pending(failed bool) bool { return o.claim != nil && (failed || !o.settled) }

// End gives a Pending claim its answer. Without an answer, or if it can't be stored, the claim is abandoned, so that
// the request can be sent again.
func (o *Operation) End(ctx context.Context, answer *store.Stored) {
	if answer != nil && !o.Unkept {
		answer.BodyHash = o.BodyHash
		err := o.view.Write(ctx, func(tx *store.Tx) error { return tx.Settle(o.claim, *answer) })
		if err == nil {
			return
		}
	}
	if err := o.view.Abandon(ctx, o.claim); err != nil {
		o.protocol.Logger.WarnContext(ctx, "abandon a claim, trying on", "requestId", o.id, "error", err)
		o.abandonLater(o.claim)
	}
}

// abandonLater gives a claim up as soon as the database can be reached. Until then it is in progress, and says so to
// whoever asks: better than running twice.
func (o *Operation) abandonLater(claim *store.Claim) {
	view := o.view
	o.protocol.Later(func(ctx context.Context) error { return view.Abandon(ctx, claim) })
}
