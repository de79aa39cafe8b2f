// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestReplicaThatCannotListIsCountedOut: it can renew its Lease, so deletions would wait for it for ever.
func TestReplicaThatCannotListIsCountedOut(t *testing.T) {
	for _, tc := range []struct {
		reason string
		asked  time.Duration // when it begins to list
		act    func(x *scene)
	}{
		{"from the beginning", 0, func(x *scene) { x.lists(hang); x.run() }},
		{"from when it should list anew", 12*s + 50*ms, func(x *scene) {
			x.run()
			x.until(10 * s)
			x.lists(hang)
			x.await("7")
		}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				tc.act(x)
				x.until(tc.asked + 60*s)
				if got, want := x.serving(), tc.asked > 0; got != want {
					t.Errorf("after a minute it serves: %t, want %t", got, want)
				}
				if got := x.order(0, cut); got != "" {
					t.Error("it has given up before its time")
				}
				x.until(tc.asked + 60*s + renewal15 + 50*ms)
				if x.serving() {
					t.Error("it still serves")
				}
				stopped := x.last(cut)
				if got := len(x.moments(stopped, reconnect)); got != 1 {
					t.Errorf("it has closed its connections %d times", got)
				}

				x.until(stopped + 300*s)
				if got := x.order(stopped+1, patch, create, up); got != "" {
					t.Errorf("while it can't list: %s", got)
				}
				if n := len(x.logged(stopped, "can't be listed")); n == 0 {
					t.Error("it does not say why it serves nothing")
				}
				if got, want := len(x.moments(stopped, relist)), 1; got != want {
					t.Errorf("it lists %d times at once", got)
				}

				// The list that hangs ends with its connection, and the store tries again.
				x.end()
				<-x.ended
			})
		})
	}
}

// TestReplicaWithALongListServes: one that takes longer than a replica may list with a Lease is made without one, and
// then has the time that it takes. Whoever can't list at all is given no more than that.
func TestReplicaWithALongListServes(t *testing.T) {
	for _, tc := range []struct {
		list, serves time.Duration // 0: never
	}{
		{59 * s, 59 * s},
		{70 * s, 62*s + 2*70*s},
		{9 * time.Minute, 62*s + 18*time.Minute},
		{11 * time.Minute, 0}, // deletions would wait for too long
	} {
		t.Run(tc.list.String(), func(t *testing.T) {
			play(t, func(t *testing.T, x *scene) {
				until := tc.serves
				if until == 0 {
					until = time.Hour
				}
				x.lists(slow(tc.list))
				x.run()
				x.until(until - 2*s)
				if x.serving() {
					t.Fatal("it serves before it has listed with a Lease")
				}
				x.until(until + 3*s)
				if got := x.serving(); got != (tc.serves != 0) {
					t.Fatalf("it serves: %t; %v", got, x.moments(0, patched, created, relist, relisted, up, cut))
				}
				if tc.serves == 0 {
					return
				}
				from := x.now()
				x.lists(hang)
				x.await("7")
				x.until(from + max(60*s, 2*tc.list) + 10*s)
				if got := x.order(from, cut); got == "" {
					t.Error("it renews its Lease and can't list, and does not give up")
				}
			})
		})
	}
}

func TestReplicaThatCouldNotListComesBack(t *testing.T) {
	play(t, func(t *testing.T, x *scene) {
		release := make(chan struct{})
		x.lists(func(ctx context.Context) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		x.run()
		x.until(300 * s)
		if got := x.order(70*s, patch, create, up); got != "" {
			t.Errorf("while it can't list: %s", got)
		}
		close(release)
		x.lists(slow(1 * s))
		x.until(300*s + 500*ms)
		if x.serving() {
			t.Error("it serves what it has listed without a Lease")
		}
		x.until(302 * s)
		if !x.serving() {
			t.Error("it does not serve again")
		}
		if got, want := x.order(300*s, patched, relist, relisted, up), "relisted patched relist relisted"; !strings.HasPrefix(got, want) {
			t.Errorf("it comes back by %q, want %q", got, want)
		}
		// And it knows no more of that: it would renew its Lease for ever, if it does not serve.
		x.until(400 * s)
		if n := len(x.moments(310*s, patch)); n != 45 {
			t.Errorf("%d renewals in 90 s", n)
		}
		x.remove()
		x.until(410 * s)
		if got, want := x.order(400*s+1, created, relist, relisted, up), "created relist relisted up"; got != want {
			t.Errorf("when it has to come back later, it does by %q, want %q", got, want)
		}
	})
}
