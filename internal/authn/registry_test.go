// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestCutBetweenLookupAndRegistration is what the second look of Admit is for.
func TestCutBetweenLookupAndRegistration(t *testing.T) {
	profile := authntest.Profile()
	for _, tc := range []struct {
		reason string
		do     func(t *testing.T, x *flying, k *v1alpha1.ApiKey, s string)
		want   error
	}{
		{"nothing happens", func(*testing.T, *flying, *v1alpha1.ApiKey, string) {}, nil},
		{"the key is being deleted", func(_ *testing.T, x *flying, k *v1alpha1.ApiKey, _ string) {
			authntest.Deleting(k)
			x.PutKey(k)
		}, authn.Revoked},
		{"the key goes", func(_ *testing.T, x *flying, k *v1alpha1.ApiKey, _ string) { x.RemoveKey(k) }, authn.Revoked},
		{"the table is rebuilt, and then the key is being deleted", func(t *testing.T, x *flying, k *v1alpha1.ApiKey, s string) {
			leftBehind(t, x, s, func() {
				authntest.Deleting(k)
				x.PutKey(k)
			})
		}, authn.Revoked},
		{"the table is rebuilt, and then the key goes", func(t *testing.T, x *flying, k *v1alpha1.ApiKey, s string) {
			leftBehind(t, x, s, func() { x.RemoveKey(k) })
		}, authn.Revoked},
		{"the Profile goes", func(_ *testing.T, x *flying, _ *v1alpha1.ApiKey, _ string) { x.RemoveProfile(profile) }, authn.Unserved},
		{"the replica is cut off", func(_ *testing.T, x *flying, _ *v1alpha1.ApiKey, _ string) {
			x.serving.Store(false)
			x.CutAll(authn.ErrUnavailable)
		}, authn.ErrUnavailable},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, authntest.PinnedTo(profile))
			x := newFlying(t, profile, k)
			f := new(authn.Flight)
			err := x.AdmitInTwo(t.Context(), bearer(s), f, func() { tc.do(t, x, k, s) })
			if !errors.Is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
			if tc.want != nil && (x.Running() != 0 || *f.Caller() != (caller.Caller{})) {
				t.Errorf("refused, and yet there are %d flights, and the caller is %+v", x.Running(), f.Caller())
			}
			_ = f.End()
		})
	}
}

// TestRegisteredBeforeItIsJudged is the other half: who looks first and registers then, has not looked.
func TestRegisteredBeforeItIsJudged(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	var running []int // when serving is asked, which comes first in a look
	a := authntest.Authenticator(t, x, key.Live, clocktesting.NewFakePassiveClock(now), func(o *authn.Options) {
		o.Serving = func(time.Time) bool { running = append(running, x.Running()); return true }
	})
	var f authn.Flight
	if err := a.AdmitNow(t.Context(), bearer(s), &f); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(running, []int{0, 1}) {
		t.Errorf("at the looks of Admit, %v flights were registered; want none, then one", running)
	}
	_ = f.End()
}

// leftBehind has do done to a key after the slot that a lookup has found before was left behind.
func leftBehind(t *testing.T, x *flying, plaintext string, do func()) {
	t.Helper()
	old := x.LookedUp(bearer(plaintext))
	for range 1000 {
		other, _ := minted(t)
		x.PutKey(other)
	}
	do()
	if err := old(now); err != nil {
		t.Fatalf("the old slot says %v: this test shows nothing", err)
	}
}

// TestRegistryHoldsWhoIsRunning begins and ends flights in any order.
func TestRegistryHoldsWhoIsRunning(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	random := rand.New(rand.NewPCG(7, 7))
	var running []*authn.Flight
	most := 0
	for range 20_000 {
		if i := len(running); i > 0 && random.IntN(1000) < i {
			i = random.IntN(i)
			if err := running[i].End(); err != nil {
				t.Fatal(err)
			}
			running[i] = running[len(running)-1]
			running = running[:len(running)-1]
		} else {
			f := new(authn.Flight)
			if err := x.AdmitNow(t.Context(), bearer(s), f); err != nil {
				t.Fatal(err)
			}
			running = append(running, f)
		}
		if n := x.Running(); n != len(running) {
			t.Fatalf("%d flights are in the registry, want %d", n, len(running))
		}
		inUse, _ := x.ShardsInUse()
		most = max(most, inUse)
	}
	if _, all := x.ShardsInUse(); most < all {
		t.Errorf("%d of %d shards are ever used", most, all)
	}
	x.RemoveKey(k)
	for _, f := range running {
		if err := f.End(); !errors.Is(err, authn.Revoked) {
			t.Fatalf("End = %v", err)
		}
	}
	if n := x.Running(); n != 0 {
		t.Errorf("%d flights are left", n)
	}
}

func TestFlightsAllocateNothing(t *testing.T) {
	k, s := minted(t, authntest.ExpiringAt(now.Add(time.Hour)))
	x := newFlying(t, k)
	ctx, header, flights := t.Context(), bearer(s), make([]authn.Flight, 1001)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		if err := errors.Join(x.AdmitNow(ctx, header, &flights[i]), flights[i].Err(), flights[i].End()); err != nil {
			t.Fatal(err)
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// TestNoFlightEscapesARevocation: many requests come in while their key goes. Whoever was let in has been told when the
// change of the index returns.
func TestNoFlightEscapesARevocation(t *testing.T) {
	const callers, each = 2, 16
	rounds := 1500
	if testing.Short() {
		rounds = 100
	}
	profile := authntest.Profile()
	for _, tc := range []struct {
		reason string
		end    func(x *flying, k *v1alpha1.ApiKey)
		again  func(x *flying)
		want   error
	}{
		{"deleting", func(x *flying, k *v1alpha1.ApiKey) { authntest.Deleting(k); x.PutKey(k) }, func(*flying) {}, authn.Revoked},
		{"gone", func(x *flying, k *v1alpha1.ApiKey) { x.RemoveKey(k) }, func(*flying) {}, authn.Revoked},
		{"Profile", func(x *flying, _ *v1alpha1.ApiKey) { x.RemoveProfile(profile) }, func(x *flying) { x.PutProfile(profile) }, authn.Unserved},
		{"fence", func(x *flying, _ *v1alpha1.ApiKey) {
			x.serving.Store(false)
			x.CutAll(authn.ErrUnavailable)
		}, func(x *flying) { x.serving.Store(true) }, authn.ErrUnavailable},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			x := newFlying(t, profile)
			admitted := 0
			for round := range rounds {
				k, s := minted(t, authntest.PinnedTo(profile))
				x.PutKey(k)
				type running struct {
					flight authn.Flight
					ctx    context.Context
				}
				var all [callers][each]running
				var wait sync.WaitGroup
				var begun atomic.Int64
				for i := range callers {
					wait.Go(func() {
						for j := range each {
							r := &all[i][j]
							begun.Add(1)
							if err := x.AdmitNow(context.Background(), bearer(s), &r.flight); err == nil {
								r.ctx = r.flight.Context()
							} else if !errors.Is(err, tc.want) && !errors.Is(err, authn.Unknown) {
								t.Errorf("round %d: refused with %v", round, err)
							}
						}
					})
				}
				for begun.Load() <= int64(round%each) { // nothing that lets others go first: it is about nanoseconds
				}
				tc.end(x, k)
				var late authn.Flight
				if err := x.AdmitNow(t.Context(), bearer(s), &late); err == nil {
					t.Fatalf("round %d: accepted after the end", round)
				}
				wait.Wait()
				for i := range callers {
					for j := range each {
						r := &all[i][j]
						if r.ctx == nil {
							continue
						}
						admitted++
						if !errors.Is(context.Cause(r.ctx), tc.want) {
							t.Fatalf("round %d: let in and never told: cause %v", round, context.Cause(r.ctx))
						}
						if err := r.flight.End(); !errors.Is(err, tc.want) {
							t.Fatalf("round %d: let in and ended with %v", round, err)
						}
					}
				}
				tc.again(x)
				x.RemoveKey(k)
			}
			if n := x.Running(); n != 0 || admitted == 0 {
				t.Errorf("%d flights are left, %d were let in", n, admitted)
			}
			t.Logf("%d were let in", admitted)
		})
	}
}

// TestFlightsUnderLoad lets requests run from beginning to end while keys come and go. Who ended well, ended before the
// change of the index had been made.
func TestFlightsUnderLoad(t *testing.T) {
	x := newFlying(t)
	type current struct {
		key       *v1alpha1.ApiKey
		plaintext string
		gone      atomic.Bool // the change of the index has returned
	}
	var now atomic.Pointer[current]
	renew := func() {
		k, s := minted(t)
		x.PutKey(k)
		now.Store(&current{key: k, plaintext: s})
	}
	renew()
	done := make(chan struct{})
	var wait sync.WaitGroup
	var begun, well, cut atomic.Int64
	for range max(1, runtime.GOMAXPROCS(0)-1) {
		wait.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c := now.Load()
				goneBefore := c.gone.Load()
				var f authn.Flight
				begun.Add(1)
				if err := x.AdmitNow(context.Background(), bearer(c.plaintext), &f); err != nil {
					continue
				}
				if goneBefore {
					t.Error("accepted after the end of the key")
				}
				if f.Caller().Actor.ID != string(c.key.UID) {
					t.Error("somebody else was recognised")
				}
				wrote := authn.Commit(f.Context(), func(context.Context) error { return nil }) == nil
				goneBefore = c.gone.Load()
				switch err := f.End(); {
				case err == nil && goneBefore && !wrote:
					t.Error("ended well after the end of the key")
				case err == nil:
					well.Add(1)
				case wrote:
					t.Errorf("written, and it ended with %v", err)
				default:
					cut.Add(1)
				}
			}
		})
	}
	for i := range 500 {
		c := now.Load()
		for next := begun.Load() + int64(i%8); begun.Load() < next; { // nothing that lets others go first
		}
		authntest.Deleting(c.key)
		x.PutKey(c.key)
		c.gone.Store(true)
		x.RemoveKey(c.key)
		renew()
	}
	close(done)
	wait.Wait()
	if n := x.Running(); n != 0 || well.Load() == 0 {
		t.Errorf("%d flights are left, %d ended well", n, well.Load())
	}
	t.Logf("%d ended well, %d were cut", well.Load(), cut.Load())
}
