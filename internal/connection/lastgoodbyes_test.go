// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"fmt"
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
		k := &Keeper{goodbyes: newGoodbyes(), o: Options{Logger: slog.New(slog.DiscardHandler)}}
		for i := range mostGoodbyes {
			if !k.goodbyes.add(goodbye{whose: fmt.Sprint(i / goodbyesOfOne), to: platform.Platform{Revoker: hanging{}}}) {
				t.Fatalf("there is no room for %d", i)
			}
		}
		if k.goodbyes.add(goodbye{whose: "one more"}) {
			t.Error("there is room for any number of them")
		}
		ctx, end := context.WithCancel(t.Context())
		time.AfterFunc(goodbyeWithin/2, end) // in the middle of the first one
		began := time.Now()
		k.sayGoodbyes(ctx)
		if took := time.Since(began); took != goodbyeWithin+goodbyeWithin/2 || len(k.goodbyes.waiting) > 0 {
			t.Errorf("it took %s, and %d are left", took, len(k.goodbyes.waiting))
		}
	})
}

// noting is a platform that notes whom it was told of.
type noting struct{ told chan string }

func (n noting) Revoke(_ context.Context, a platform.Account, _ platform.Secrets) error {
	n.told <- a.ID
	return nil
}

// TestGoodbyesTakeTurns: an organization whose platforms never answer has a part of the places that wait, and keeps
// another's from being told for one platform's time, however many of its own wait.
func TestGoodbyesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &Keeper{goodbyes: newGoodbyes(), o: Options{Logger: slog.New(slog.DiscardHandler)}}
		added := 0
		for k.goodbyes.add(goodbye{whose: "hostile", to: platform.Platform{Revoker: hanging{}}}) {
			added++
		}
		if added != goodbyesOfOne {
			t.Errorf("one organization has %d places", added)
		}
		n := noting{make(chan string, 3)}
		for _, id := range []string{"a", "b", "c"} {
			k.goodbyes.add(goodbye{whose: "neighbour", to: platform.Platform{Revoker: n}, of: platform.Account{ID: id}})
		}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); k.sayGoodbyes(ctx) }()
		began := time.Now()
		for range 3 {
			<-n.told
		}
		if took := time.Since(began); took > goodbyeWithin {
			t.Errorf("the neighbour has waited for %s", took)
		}
		end()
		<-ended
	})
}
