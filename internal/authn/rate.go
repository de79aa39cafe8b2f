// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"math"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Rate is an allowance: so many requests in so much time, all of them at once if the caller likes. The zero Rate is
// unlimited.
type Rate struct {
	Requests int64
	Window   time.Duration
}

// Unlimited tells whether the rate limits nothing.
func (r Rate) Unlimited() bool { return r.Requests <= 0 || r.Window <= 0 }

// Allowance is what there is left of a Rate.
type Allowance struct {
	Allowed    bool
	Rate       Rate          // zero: unlimited, and nothing else is set
	Remaining  int64         // requests that could follow at once
	Reset      time.Duration // until Remaining is all of it again, if none follow
	RetryAfter time.Duration // until one request is allowed again; 0 if it is allowed
}

// Rate returns the rate of the caller's key: the key's own, else that of its Profile, else otherwise.
func (id Identity) Rate(otherwise Rate) Rate {
	if id.Key.rate.requests > 0 {
		return id.Key.rate.rate()
	}
	if id.Profile != nil && id.Profile.rate.requests > 0 {
		return id.Profile.rate.rate()
	}
	return otherwise
}

// Take takes one request out of the key's allowance, as this process knows it: the generic cell rate algorithm, on one
// word of the key's entry. It takes no lock and allocates nothing.
func (k *Key) Take(rate Rate, now time.Time) Allowance { return k.meter.Take(rate, now) }

// compactRate is a v1alpha1.RateLimit in eight bytes: there may be a million of them.
type compactRate struct {
	requests int32  // 0: there is none
	window   uint32 // milliseconds, as fine as the API has it
}

// rateOf is the rate that somebody has asked for; what the API does not admit is none.
func rateOf(r *v1alpha1.RateLimit) compactRate {
	if r == nil || r.Requests <= 0 || r.Window.Duration < time.Millisecond {
		return compactRate{}
	}
	return compactRate{requests: r.Requests, window: uint32(min(r.Window.Milliseconds(), math.MaxUint32))}
}

// limit is what rateOf has read; nil: none.
func (c compactRate) limit() *v1alpha1.RateLimit {
	if c.requests == 0 {
		return nil
	}
	return &v1alpha1.RateLimit{Requests: c.requests, Window: metav1.Duration{Duration: c.rate().Window}}
}

func (c compactRate) rate() Rate {
	return Rate{Requests: int64(c.requests), Window: time.Duration(c.window) * time.Millisecond}
}

// Meter counts what is taken of one allowance. The zero Meter is an allowance of which nothing has been taken.
//
// It holds the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371), in Unix nanoseconds: the
// moment when the allowance will be whole again. Each request moves it on by an interval, Window/Requests; a request
// that would move it further than Requests intervals ahead of now is refused. Intervals are whole nanoseconds, rounded
// down, and at least one: as many as Requests pass at one instant, exactly, and in the long run a rate of up to a
// million a second is exceeded by less than a thousandth.
type Meter struct{ whole atomic.Int64 }

// Take takes one request out of the allowance. Any number of goroutines may.
func (m *Meter) Take(rate Rate, now time.Time) Allowance {
	if rate.Unlimited() {
		return Allowance{Allowed: true}
	}
	interval := max(int64(rate.Window)/rate.Requests, 1)
	all := interval * rate.Requests
	at := now.UnixNano()
	for {
		was := m.whole.Load()
		whole := max(was, at)
		// So far ahead it comes from a clock that has been set back since, or from a longer window. All is taken then, and no
		// more: nobody is locked out for longer than a window. What is less far ahead stays, because it may well come from
		// somebody who reads the same clock a moment later, and taking that back would give requests away.
		if whole-at > max(2*all-interval, all) {
			whole = at + all
		}
		next := whole + interval
		if allowed := next-at <= all; allowed {
			if m.whole.CompareAndSwap(was, next) {
				return Allowance{
					Allowed: true, Rate: rate,
					Remaining: (all - (next - at)) / interval, Reset: time.Duration(next - at),
				}
			}
			continue
		}
		if whole < was && !m.whole.CompareAndSwap(was, whole) {
			continue
		}
		return Allowance{Rate: rate, Reset: time.Duration(whole - at), RetryAfter: time.Duration(next - at - all)}
	}
}
