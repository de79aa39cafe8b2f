// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// hanging is a platform that takes as long as it is given.
type hanging struct{}

func (hanging) Revoke(ctx context.Context, _ platform.Account, _ platform.Secrets) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestTheEndIsBounded: the end of a process waits for all goodbyes together as long as for one of them.
func TestTheEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &Keeper{goodbyes: make(chan goodbye, goodbyesAtOnce), o: Options{Logger: slog.New(slog.DiscardHandler)}}
		for range goodbyesAtOnce {
			k.goodbyes <- goodbye{to: platform.Platform{Revoker: hanging{}}}
		}
		ctx, end := context.WithCancel(t.Context())
		time.AfterFunc(goodbyeWithin/2, end) // in the middle of the first one
		began := time.Now()
		k.sayGoodbyes(ctx)
		if took := time.Since(began); took != goodbyeWithin+goodbyeWithin/2 || len(k.goodbyes) > 0 {
			t.Errorf("it took %s, and %d are left", took, len(k.goodbyes))
		}
	})
}
