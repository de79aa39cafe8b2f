// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Opening is a post's account that is being opened while the attempt at the post is being stored: somebody waits for
// both, and neither needs the other. Nothing is sent by it before the attempt is stored.
type Opening struct {
	done    chan struct{}
	with    platform.Credentials
	failure *platform.Failure
	err     error
}

// Open begins to open a post's account. Only that of a request's first post is: of several, the others are opened while
// that one is being sent.
func (p *Publisher) Open(ctx context.Context, post store.Post) *Opening {
	if p.o.Connections == nil {
		return nil
	}
	o := &Opening{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.with, o.failure, o.err = p.o.Connections.Open(ctx, post.AccountID)
	}()
	return o
}

// open opens a post's account, unless that has been done. An error of before is none: its request may have ended, and
// the attempt has not.
func (p *Publisher) open(
	ctx context.Context, post store.Post, ahead *Opening,
) (platform.Credentials, *platform.Failure, error) {
	if ahead != nil {
		if <-ahead.done; ahead.err == nil {
			return ahead.with, ahead.failure, nil
		}
	}
	return p.o.Connections.Open(ctx, post.Account.ID)
}
