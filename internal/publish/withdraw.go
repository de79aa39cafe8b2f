// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/turns"
)

// withdrawal is a key whose queued posts are to be canceled. Others are not touched: what was published stays, and what
// has begun is on its way. But it is waited for, as it may come back: to be tried again, when a platform is busy.
type withdrawal struct {
	organization, keyID string
	done                func()
	canceled            int // posts, so far
	complaint           retry.Complaint
}

// withdrawals is what waits to be withdrawn, as the storage of a workqueue. Organizations take turns: however many keys
// one of them deletes, the deletion of somebody else's waits for one of these.
type withdrawals struct{ turns.Queue[*withdrawal] }

// Push is workqueue.Queue's, as are Pop and Touch.
func (q *withdrawals) Push(w *withdrawal) { q.Queue.Push(w.organization, w) }

// Pop is called if there are any.
func (q *withdrawals) Pop() *withdrawal {
	w, _ := q.Queue.Pop()
	return w
}

// Touch is for what is added again while it waits, which none is.
func (q *withdrawals) Touch(*withdrawal) {}

// Withdraw cancels all queued posts that were made with a key of an organization, and then calls done. It returns at
// once; Run does the work, and tries on while the database is away. If Run ends before it succeeds, done is never
// called.
func (p *Publisher) Withdraw(organization, keyID string, done func()) {
	// A pointer, so that two withdrawals of one key are two: each has somebody waiting for its done.
	p.withdrawals.Add(&withdrawal{organization: organization, keyID: keyID, done: done})
}

// withdraw does what Withdraw asks for, until ctx ends. What is left then is dropped.
func (p *Publisher) withdraw(ctx context.Context) {
	context.AfterFunc(ctx, p.withdrawals.ShutDown)
	for {
		w, ended := p.withdrawals.Get()
		if ended || ctx.Err() != nil {
			return
		}
		switch err := p.cancelQueuedBy(ctx, w); {
		case err == nil:
			w.done()
		case errors.Is(err, errOnTheirWay): // not waited for here: other keys, of other organizations, are not to wait for it
			// It may come before Done, and w is then given out again by that; or after the end, when nothing is added any more.
			time.AfterFunc(whileOnTheirWay, func() { p.withdrawals.Add(w) })
		case ctx.Err() == nil: // it is tried on behind the others, as it may be this key's alone that can't be done
			p.withdrawals.Add(w)
		}
		p.withdrawals.Done(w)
	}
}

// errOnTheirWay says that posts of a key are being published, and whileOnTheirWay is how often that is looked at.
var errOnTheirWay = errors.New("posts are on their way")

const whileOnTheirWay = 500 * time.Millisecond

// triesOfOne is how often one key's posts are tried to be canceled before it is somebody else's turn.
const triesOfOne = 3

// cancelQueuedBy cancels a key's posts, and tries a few times: whoever calls it tries on, since a post that a revoked
// key has queued must not go out. The error is that of ctx, errOnTheirWay, or the database's.
func (p *Publisher) cancelQueuedBy(ctx context.Context, w *withdrawal) error {
	const complaintText = "the posts that a deleted key had queued could not be canceled, trying on"
	tries := 0
	return backoff.Until(ctx, func(ctx context.Context) error {
		n, err := p.work.CancelQueuedBy(ctx, w.keyID)
		if err != nil {
			return err
		}
		w.canceled += n
		// After the canceling, and for both states in one look: a post that has just come back from its attempt, to be tried
		// again, was on its way when the others were canceled, and is canceled the next time.
		switch left, err := p.work.HasPending(ctx, w.keyID); {
		case err != nil:
			return err
		case left:
			return errOnTheirWay
		}
		p.o.Logger.Info("canceled the posts that a deleted key had queued", "key", w.keyID, "posts", w.canceled)
		return nil
	}, func(err error) bool {
		if errors.Is(err, errOnTheirWay) {
			return false
		}
		if w.complaint.Due(complaintText, p.o.Clock.Now()) {
			p.o.Logger.Warn(complaintText, "key", w.keyID, "error", err)
		}
		tries++
		return tries < triesOfOne
	})
}
