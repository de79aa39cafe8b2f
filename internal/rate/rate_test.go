// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rate

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

// TestTake: what a caller is told.
func TestTake(t *testing.T) {
	rate := Rate{Requests: 2, Window: 10 * time.Second}
	var m Meter
	for _, tc := range []struct {
		reason string
		at     time.Duration
		rate   Rate
		want   Allowance
	}{
		{"the first", 0, rate, Allowance{Allowed: true, Rate: rate, Remaining: 1, Reset: 5 * time.Second}},
		{"unlimited takes nothing", 0, Rate{}, Allowance{Allowed: true}},
		{"all at once", 0, rate, Allowance{Allowed: true, Rate: rate, Remaining: 0, Reset: 10 * time.Second}},
		{"one too many", time.Second, rate, Allowance{Rate: rate, Reset: 9 * time.Second, RetryAfter: 4 * time.Second}},
		{"a nanosecond early", 5*time.Second - 1, rate, Allowance{Rate: rate, Reset: 5*time.Second + 1, RetryAfter: 1}},
		{"in time", 5 * time.Second, rate, Allowance{Allowed: true, Rate: rate, Reset: 10 * time.Second}},
		{"whole again", time.Hour, rate, Allowance{Allowed: true, Rate: rate, Remaining: 1, Reset: 5 * time.Second}},
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

func (b *bucket) take(rate Rate, now time.Time) bool {
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
	rates := []Rate{
		{Requests: 1, Window: 24 * time.Hour},
		{Requests: 1, Window: time.Second},
		{Requests: 3, Window: time.Second},
		{Requests: 1_000_000, Window: time.Second},
		{Requests: 999_983, Window: time.Second},
		{Requests: 1_000_000, Window: 24 * time.Hour},
	}
	for range 60 {
		rates = append(rates, Rate{Requests: 1 + random.Int64N(1000), Window: time.Second + time.Duration(random.Int64N(int64(time.Hour)))})
	}
	for _, rate := range rates {
		var m Meter
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
	for _, rate := range []Rate{{Requests: 1, Window: time.Second}, {Requests: 3, Window: time.Second}, {Requests: 1000, Window: time.Minute}} {
		for _, late := range []time.Duration{0, rate.Window / 4} {
			var m Meter
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
	rate := Rate{Requests: 5000, Window: 1000}
	var m Meter
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
	for _, rate := range []Rate{{Requests: 1, Window: time.Hour}, {Requests: 2, Window: time.Hour}, {Requests: 100, Window: time.Minute}} {
		for _, back := range []time.Duration{1, rate.Window / 2, rate.Window, 3 * rate.Window, 1000 * time.Hour} {
			var m Meter
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
	slow, fast := Rate{Requests: 1, Window: 24 * time.Hour}, Rate{Requests: 10, Window: 10 * time.Second}
	var m Meter
	m.Take(slow, now)
	if got, want := m.Take(fast, now), (Allowance{Rate: fast, Reset: 10 * time.Second, RetryAfter: time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := m.Take(fast, now.Add(time.Second)); !got.Allowed {
		t.Errorf("a second later: %+v", got)
	}
}

func BenchmarkTake(b *testing.B) {
	var m Meter
	for _, bench := range []struct {
		name string
		rate Rate
		step time.Duration
	}{
		{"allowed", Rate{Requests: 1_000_000, Window: time.Second}, 2 * time.Microsecond},
		{"refused", Rate{Requests: 1, Window: 24 * time.Hour}, 0},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			at := now
			for b.Loop() {
				at = at.Add(bench.step)
				m.Take(bench.rate, at)
			}
		})
	}
}
