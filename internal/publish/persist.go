// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"time"
)

const (
	tryAgainFirst = 100 * time.Millisecond
	tryAgainMost  = 5 * time.Second
)

// persist does something until it succeeds, less and less often. It gives up, with the last error, when failed returns
// false, and, with that of ctx, when ctx ends.
func persist(ctx context.Context, do func(context.Context) error, failed func(error) bool) error {
	for pause := tryAgainFirst; ; pause = min(2*pause, tryAgainMost) {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !failed(err) {
			return err
		}
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
}

// wait returns after d, with true, or when ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// after returns a channel that is closed d after ctx has ended.
func after(ctx context.Context, d time.Duration) <-chan struct{} {
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(d, func() { close(ended) }) })
	return ended
}
