// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rate counts requests: the generic cell rate algorithm on one word of memory, without a lock.
//
// It knows neither who is counted nor where else: package limit holds callers to their rates.
package rate

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
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

// Meter counts what is taken of one allowance. The zero Meter is an allowance of which nothing has been taken.
//
// It holds the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371), in Unix nanoseconds: the
// moment when the allowance will be whole again. Each request moves it on by an interval, Window/Requests; a request
// that would move it further than Requests intervals ahead of now is refused. Intervals are whole nanoseconds, rounded
// down, and at least one: as many as Requests pass at one instant, exactly, and in the long run a rate of up to a
// million a second is exceeded by less than a thousandth.
type Meter struct{ fullAt atomic.Int64 }

// Take takes one request out of the allowance. Any number of goroutines may.
func (m *Meter) Take(rate Rate, now time.Time) Allowance {
	if rate.Unlimited() {
		return Allowance{Allowed: true}
	}
	interval := max(int64(rate.Window)/rate.Requests, 1)
	all := interval * rate.Requests
	at := now.UnixNano()
	for {
		was := m.fullAt.Load()
		full := max(was, at)
		// So far ahead it comes from a clock that has been set back since, or from a longer window. All is taken then, and no
		// more: nobody is locked out for longer than a window. What is less far ahead stays, because it may well come from
		// somebody who reads the same clock a moment later, and taking that back would give requests away.
		if full-at > max(2*all-interval, all) {
			full = at + all
		}
		next := full + interval
		if allowed := next-at <= all; allowed {
			if m.fullAt.CompareAndSwap(was, next) {
				return Allowance{
					Allowed: true, Rate: rate,
					Remaining: (all - (next - at)) / interval, Reset: time.Duration(next - at),
				}
			}
			continue
		}
		if full < was && !m.fullAt.CompareAndSwap(was, full) {
			continue
		}
		return Allowance{Rate: rate, Reset: time.Duration(full - at), RetryAfter: time.Duration(next - at - all)}
	}
}

// DefaultText limits floods, and not those who ask often: a thousand requests a second, for a minute. It is the default
// for keys and for addresses without a valid key, which have no reason to ask more often than those with one.
const DefaultText = "60000/1m"

// Bounds of rates. They are those of spec.rateLimit (api/v1alpha1): what can be said of one key can be said of all.
const (
	maxRequests = 1_000_000
	minWindow   = time.Second
	maxWindow   = 24 * time.Hour
)

// Parse reads "REQUESTS/WINDOW", or "none", which is the zero Rate. The error is for people, and does not name the
// flag. A window is a Go duration, such as 1m or 90s.
func Parse(text string) (Rate, error) {
	if text == "none" {
		return Rate{}, nil
	}
	requests, window, _ := strings.Cut(text, "/")
	n, err := strconv.ParseInt(requests, 10, 64)
	d, windowErr := time.ParseDuration(window)
	if err != nil || windowErr != nil || n < 1 || n > maxRequests || d < minWindow || d > maxWindow {
		return Rate{}, fmt.Errorf("want REQUESTS/WINDOW, such as 60000/1m, "+
			"with 1 to 1000000 requests and a window of 1s to 24h, or none; not %q", text)
	}
	return Rate{Requests: n, Window: d}, nil
}
