// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

func limited(requests int32, window time.Duration) *v1alpha1.RateLimit {
	return &v1alpha1.RateLimit{Requests: requests, Window: metav1.Duration{Duration: window}}
}

// TestRate: whose rate a key has.
func TestRate(t *testing.T) {
	profile := authntest.Profile(func(p *v1alpha1.Profile) { p.Spec.DefaultRateLimit = limited(20, 90*time.Minute) })
	bare := authntest.Profile()
	otherwise := authn.Rate{Requests: 30, Window: time.Second}
	own := func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = limited(1_000_000, 24*time.Hour) }
	for _, tc := range []struct {
		reason string
		mods   []func(*v1alpha1.ApiKey)
		want   authn.Rate
	}{
		{"its own", []func(*v1alpha1.ApiKey){own}, authn.Rate{Requests: 1_000_000, Window: 24 * time.Hour}},
		{"its own before its Profile's", []func(*v1alpha1.ApiKey){own, authntest.PinnedTo(profile)}, authn.Rate{Requests: 1_000_000, Window: 24 * time.Hour}},
		{"its Profile's", []func(*v1alpha1.ApiKey){authntest.PinnedTo(profile)}, authn.Rate{Requests: 20, Window: 90 * time.Minute}},
		{"its Profile has none", []func(*v1alpha1.ApiKey){authntest.PinnedTo(bare)}, otherwise},
		{"no Profile", nil, otherwise},
		{"what the API does not admit", []func(*v1alpha1.ApiKey){func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = limited(-1, time.Hour) }}, otherwise},
		{"in milliseconds", []func(*v1alpha1.ApiKey){func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = limited(7, 1001*time.Millisecond) }}, authn.Rate{Requests: 7, Window: 1001 * time.Millisecond}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, tc.mods...)
			x := authntest.Index(t, profile, bare, k)
			if got := served(t, x, s, k).Rate(otherwise); got != tc.want {
				t.Errorf("rate %v, want %v", got, tc.want)
			}
		})
	}
	t.Run("a Profile's that is changed", func(t *testing.T) {
		k, s := minted(t, authntest.PinnedTo(profile))
		x := authntest.Index(t, profile, k)
		changed := profile.DeepCopy()
		changed.Spec.DefaultRateLimit = limited(21, time.Minute)
		x.PutProfile(changed)
		if got, want := served(t, x, s, k).Rate(otherwise), (authn.Rate{Requests: 21, Window: time.Minute}); got != want {
			t.Errorf("rate %v, want %v", got, want)
		}
	})
}

// TestTake: what a caller is told.
func TestTake(t *testing.T) {
	rate := authn.Rate{Requests: 2, Window: 10 * time.Second}
	var m authn.Meter
	for _, tc := range []struct {
		reason string
		at     time.Duration
		rate   authn.Rate
		want   authn.Allowance
	}{
		{"the first", 0, rate, authn.Allowance{Allowed: true, Rate: rate, Remaining: 1, Reset: 5 * time.Second}},
		{"unlimited takes nothing", 0, authn.Rate{}, authn.Allowance{Allowed: true}},
		{"all at once", 0, rate, authn.Allowance{Allowed: true, Rate: rate, Remaining: 0, Reset: 10 * time.Second}},
		{"one too many", time.Second, rate, authn.Allowance{Rate: rate, Reset: 9 * time.Second, RetryAfter: 4 * time.Second}},
		{"a nanosecond early", 5*time.Second - 1, rate, authn.Allowance{Rate: rate, Reset: 5*time.Second + 1, RetryAfter: 1}},
		{"in time", 5 * time.Second, rate, authn.Allowance{Allowed: true, Rate: rate, Reset: 10 * time.Second}},
		{"whole again", time.Hour, rate, authn.Allowance{Allowed: true, Rate: rate, Remaining: 1, Reset: 5 * time.Second}},
	} {
		if diff := cmp.Diff(tc.want, m.Take(tc.rate, now.Add(tc.at))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

// bucket is the naive model of a Meter: what is left grows with time, in nanoseconds, and each request costs an
// interval.
type bucket struct {
	left int64
	at   int64
	full bool
}

func (b *bucket) take(rate authn.Rate, now time.Time) bool {
	interval := int64(rate.Window) / rate.Requests
	all := interval * rate.Requests
	if !b.full {
		b.left, b.at, b.full = all, now.UnixNano(), true
	}
	b.left = min(b.left+now.UnixNano()-b.at, all)
	b.at = now.UnixNano()
	if b.left < interval {
		return false
	}
	b.left -= interval
	return true
}

// TestTakeIsTheModel compares a Meter with a token bucket that nobody shares, over rates and gaps drawn at random.
func TestTakeIsTheModel(t *testing.T) {
	const seed = 20261101
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	rates := []authn.Rate{
		{Requests: 1, Window: 24 * time.Hour},
		{Requests: 1, Window: time.Second},
		{Requests: 3, Window: time.Second},
		{Requests: 1_000_000, Window: time.Second},
		{Requests: 999_983, Window: time.Second},
		{Requests: 1_000_000, Window: 24 * time.Hour},
	}
	for range 60 {
		rates = append(rates, authn.Rate{Requests: 1 + random.Int64N(1000), Window: time.Second + time.Duration(random.Int64N(int64(time.Hour)))})
	}
	for _, rate := range rates {
		var m authn.Meter
		var model bucket
		at, allowed, refused := now, 0, 0
		for range 5000 {
			gap := random.Int64N(int64(rate.Window)/rate.Requests + 1)
			switch {
			case random.Int64N(4*min(rate.Requests, 1000)) == 0: // seldom enough that all is taken before
				gap = random.Int64N(2 * int64(rate.Window))
			case random.IntN(2) == 0:
				gap = 0
			}
			at = at.Add(time.Duration(gap))
			got, want := m.Take(rate, at), model.take(rate, at)
			interval := int64(rate.Window) / rate.Requests
			if got.Allowed != want || got.Remaining != model.left/interval || got.Reset != time.Duration(interval*rate.Requests-model.left) {
				t.Fatalf("%v: got %+v, the model says %v with %d left", rate, got, want, model.left)
			}
			if want {
				allowed++
			} else if refused++; got.RetryAfter != time.Duration(interval-model.left) {
				t.Fatalf("%v: try again after %s, the model says %s", rate, got.RetryAfter, time.Duration(interval-model.left))
			}
		}
		if allowed == 0 || rate.Requests < 1000 && refused == 0 {
			t.Errorf("%v: %d allowed and %d refused: that shows nothing", rate, allowed, refused)
		}
	}
}

// TestTakeAtOnce: as many as the rate says pass at one instant, whoever asks; and also if some read the clock late.
func TestTakeAtOnce(t *testing.T) {
	for _, rate := range []authn.Rate{{Requests: 1, Window: time.Second}, {Requests: 3, Window: time.Second}, {Requests: 1000, Window: time.Minute}} {
		for _, late := range []time.Duration{0, rate.Window / 4} {
			var m authn.Meter
			var allowed atomic.Int64
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					for range 400 {
						if m.Take(rate, now.Add(-late*time.Duration(i%2))).Allowed {
							allowed.Add(1)
						}
					}
				})
			}
			all.Wait()
			// Between two readings of the clock a part of the rate comes back, once, however often they alternate.
			if got := allowed.Load(); got < rate.Requests || got > rate.Requests+rate.Requests*int64(late)/int64(rate.Window) {
				t.Errorf("%v, clocks %s apart: %d allowed", rate, late, got)
			}
		}
	}
}

// TestTakeOfManyANanosecond: a rate finer than the clock is an interval of one nanosecond.
func TestTakeOfManyANanosecond(t *testing.T) {
	rate := authn.Rate{Requests: 5000, Window: 1000}
	var m authn.Meter
	allowed := 0
	for range 6000 {
		if m.Take(rate, now).Allowed {
			allowed++
		}
	}
	if allowed != 5000 {
		t.Errorf("%d allowed at once, want 5000", allowed)
	}
}

// TestTakeUnderAClockThatIsSetBack: nobody is locked out for longer than a window, and nobody gets more than one more.
func TestTakeUnderAClockThatIsSetBack(t *testing.T) {
	for _, rate := range []authn.Rate{{Requests: 1, Window: time.Hour}, {Requests: 2, Window: time.Hour}, {Requests: 100, Window: time.Minute}} {
		for _, back := range []time.Duration{1, rate.Window / 2, rate.Window, 3 * rate.Window, 1000 * time.Hour} {
			var m authn.Meter
			for m.Take(rate, now).Allowed {
			}
			at := now.Add(-back)
			refusal := m.Take(rate, at)
			if refusal.Allowed || refusal.RetryAfter <= 0 || refusal.RetryAfter > rate.Window {
				t.Errorf("%v, set back by %s: %+v", rate, back, refusal)
			}
			if again := m.Take(rate, at.Add(refusal.RetryAfter)); !again.Allowed {
				t.Errorf("%v, set back by %s: told to come again after %s, and refused then: %+v", rate, back, refusal.RetryAfter, again)
			}
		}
	}
}

// TestTakeOfARateThatChanges: a long lock-out under the rate before does not last under a shorter window.
func TestTakeOfARateThatChanges(t *testing.T) {
	slow, fast := authn.Rate{Requests: 1, Window: 24 * time.Hour}, authn.Rate{Requests: 10, Window: 10 * time.Second}
	var m authn.Meter
	m.Take(slow, now)
	if got, want := m.Take(fast, now), (authn.Allowance{Rate: fast, Reset: 10 * time.Second, RetryAfter: time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := m.Take(fast, now.Add(time.Second)); !got.Allowed {
		t.Errorf("a second later: %+v", got)
	}
}

func BenchmarkTake(b *testing.B) {
	k, s := minted(b)
	id, err := authenticator(b, authntest.Index(b, k)).Authenticate(bearer(s))
	if err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name string
		rate authn.Rate
		step time.Duration
	}{
		{"allowed", authn.Rate{Requests: 1_000_000, Window: time.Second}, 2 * time.Microsecond},
		{"refused", authn.Rate{Requests: 1, Window: 24 * time.Hour}, 0},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			at := now
			for b.Loop() {
				at = at.Add(bench.step)
				id.Key.Take(id.Rate(bench.rate), at)
			}
		})
	}
}
