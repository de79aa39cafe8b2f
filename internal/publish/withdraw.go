// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// withdrawal is a key whose queued posts are to be canceled. Others are not touched: what has begun is on its way, and
// what was published stays.
type withdrawal struct {
	keyID string
	done  func()
}

// Withdraw cancels all queued posts that were made with a key, and then calls done. It returns at once; Run does the
// work, and tries on while the database is away. If Run ends before it succeeds, done is never called.
func (p *Publisher) Withdraw(keyID string, done func()) {
	// A pointer, so that two withdrawals of one key are two: each has somebody waiting for its done.
	p.withdrawals.Add(&withdrawal{keyID, done})
}

// withdraw does what Withdraw asks for, until ctx ends. What is left then is dropped.
func (p *Publisher) withdraw(ctx context.Context) {
	context.AfterFunc(ctx, p.withdrawals.ShutDown)
	for {
		w, ended := p.withdrawals.Get()
		if ended || ctx.Err() != nil {
			return
		}
		if p.cancelQueuedBy(ctx, w.keyID) == nil {
			w.done()
		}
		p.withdrawals.Done(w)
	}
}

// cancelQueuedBy cancels a key's posts, and tries until it succeeds: a post that a revoked key has queued must not go
// out. The error is that of ctx.
func (p *Publisher) cancelQueuedBy(ctx context.Context, keyID string) error {
	const complaintText = "the posts that a deleted key had queued could not be canceled, trying on"
	var complaint retry.Complaint
	return backoff.Until(ctx, func(ctx context.Context) error {
		n, err := p.work.CancelQueuedBy(ctx, keyID)
		if err == nil {
			p.o.Logger.Info("canceled the posts that a deleted key had queued", "key", keyID, "posts", n)
		}
		return err
	}, func(err error) bool {
		if complaint.Due(complaintText, p.o.Clock.Now()) {
			p.o.Logger.Warn(complaintText, "key", keyID, "error", err)
		}
		return true
	})
}
