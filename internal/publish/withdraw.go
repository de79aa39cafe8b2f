// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import "context"

// withdrawal is a key whose queued posts are to be canceled.
type withdrawal struct {
	keyID string
	done  func()
}

// Withdraw cancels all queued posts that were made with a key, and then calls done. It returns at once; Run does the
// work, and tries on while the database is away. If Run ends before it succeeds, done is never called.
func (p *Publisher) Withdraw(keyID string, done func()) {
	p.withdrawals.add(withdrawal{keyID, done})
}

// withdraw does what Withdraw asks for, until ctx ends.
func (p *Publisher) withdraw(ctx context.Context) {
	p.withdrawals.serve(ctx, func(w withdrawal) {
		if p.cancelQueuedBy(ctx, w.keyID) == nil {
			w.done()
		}
	})
}

// cancelQueuedBy cancels a key's posts. The error is that of ctx.
func (p *Publisher) cancelQueuedBy(ctx context.Context, keyID string) error {
	told := false
	return persist(ctx, func(ctx context.Context) error {
		n, err := p.work.CancelQueuedBy(ctx, keyID)
		if err == nil {
			p.o.Logger.Info("canceled the posts that a deleted key had queued", "key", keyID, "posts", n)
		}
		return err
	}, func(err error) bool {
		if !told {
			p.o.Logger.Warn(
				"the posts that a deleted key had queued could not be canceled, trying on",
				"key",
				keyID,
				"error",
				err,
			)
			told = true
		}
		return true
	})
}
