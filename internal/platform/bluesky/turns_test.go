// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
)

// TestImagesTakeTurns: each organization in turn, whoever came first; and whoever gives up is passed over.
func TestImagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q oneAtATime
		if err := q.enter(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		var order []string
		impatient, giveUp := context.WithCancel(t.Context())
		for _, whose := range strings.Fields("hostile hostile hostile hostile impatient neighbour hostile neighbour third") {
			ctx := t.Context()
			if whose == "impatient" {
				ctx = impatient
			}
			go func() {
				if q.enter(ctx, whose) == nil {
					order = append(order, whose) // one at a time
					q.leave()
				}
			}()
			synctest.Wait()
		}
		giveUp()
		synctest.Wait()
		q.leave()
		synctest.Wait()
		want := "hostile neighbour third hostile neighbour hostile hostile hostile"
		if got := strings.Join(order, " "); got != want {
			t.Errorf("they had their turns in the order %s, want %s", got, want)
		}
		if q.busy || q.waiting.Len() > 0 {
			t.Errorf("nobody is there any more, and it has %+v", &q)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := q.enter(ended, "a"); err != nil { // nobody is there to wait for
			t.Error(err)
		}
		if err := q.enter(ended, "a"); err == nil {
			t.Error("there are two at a time")
		}
	})
}
