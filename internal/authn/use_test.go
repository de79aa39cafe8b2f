// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestUseIsCounted(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	x.CountUse()
	clock := clocktesting.NewFakePassiveClock(now)
	a := authntest.Authenticator(t, x, key.Live, clock)
	use := func(n int) {
		for range n {
			if _, err := a.Identify(bearer(s)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := x.TakeUsed(); got != nil {
		t.Fatalf("before any use: %d keys", len(got))
	}
	use(3)
	_, _ = a.Identify(bearer(s + "x")) // nobody's
	used := x.TakeUsed()
	if len(used) != 1 || used[0].ID() != k.UID {
		t.Fatalf("%d keys were used, want the one", len(used))
	}
	use(2)
	if got := x.TakeUsed(); got != nil {
		t.Error("the key comes again before its count was taken")
	}
	check := func(what string, u authn.Use, requests uint64) {
		t.Helper()
		if u.Requests != requests || !u.LastUsedAt.Equal(now.Truncate(time.Minute)) {
			t.Errorf("%s: %d requests, the last at %s; want %d", what, u.Requests, u.LastUsedAt, requests)
		}
	}
	check("not taken", used[0].Use(), 5)
	u := used[0].TakeUse(now)
	check("taken", u, 5)
	if at := used[0].UseTakenAt(); !at.Equal(now) {
		t.Errorf("taken at %s, want %s", at, now)
	}
	use(1)
	x.ReturnUse(u)
	if at := used[0].UseTakenAt(); !at.IsZero() {
		t.Errorf("put back, it was taken at %s", at)
	}
	if used = x.TakeUsed(); len(used) != 1 {
		t.Fatalf("%d keys, want the one that is used again and has a count back", len(used))
	}
	check("put back", used[0].TakeUse(now), 6)

	use(1)
	x.RemoveKey(k)
	if u := x.TakeUsed()[0].TakeUse(now); !u.LastUsedAt.IsZero() {
		t.Errorf("a key that is gone was used at %s", u.LastUsedAt)
	}
}

// TestUseThatNobodyTakes is not counted: keys that are gone would stay in memory for it.
func TestUseThatNobodyTakes(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	a := authntest.Authenticator(t, x, key.Live, clocktesting.NewFakePassiveClock(now))
	if _, err := a.Identify(bearer(s)); err != nil {
		t.Fatal(err)
	}
	entry := x.Entry(key.DigestOf(s))
	if used := x.TakeUsed(); used != nil || entry.Use().Requests != 0 || entry.LastUsedAt().IsZero() {
		t.Errorf("%d keys to take, %+v", len(used), entry.Use())
	}
}

// TestNoUseIsLost: whatever is counted while others take and put back is taken once.
func TestNoUseIsLost(t *testing.T) {
	const keys, each, users = 5, 2000, 4
	x := authntest.Index(t)
	x.CountUse()
	a := authntest.Authenticator(t, x, key.Live, clocktesting.NewFakePassiveClock(now))
	var headers [][]string
	for range keys {
		k, s := minted(t)
		x.PutKey(k)
		headers = append(headers, bearer(s))
	}
	var using sync.WaitGroup
	for range users {
		using.Go(func() {
			for i := range each {
				if _, err := a.Identify(headers[i%keys]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { using.Wait(); close(done) }()
	taken, turn := uint64(0), 0
	take := func() {
		for _, k := range x.TakeUsed() {
			u := k.TakeUse(now)
			if turn++; turn%3 == 0 {
				x.ReturnUse(u)
				continue
			}
			taken += u.Requests
		}
	}
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		take()
	}
	for range 3 * keys { // what was put back
		take()
	}
	if taken != users*each {
		t.Errorf("%d requests were taken, want %d", taken, users*each)
	}
}
