// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// compactRate is a v1alpha1.RateLimit in eight bytes: there may be a million of them.
type compactRate struct {
	requests int32  // 0: there is none
	window   uint32 // milliseconds, as fine as the API has it
}

// rateOf is the rate that somebody has asked for; what the API does not admit is none, so that
// the server's default counts.
func rateOf(r *v1alpha1.RateLimit) compactRate {
	if r == nil || r.Requests <= 0 || r.Window.Duration < time.Millisecond {
		return compactRate{}
	}
	return compactRate{requests: r.Requests, window: uint32(min(r.Window.Milliseconds(), math.MaxUint32))}
}

// limit is the reverse of rateOf, for a key that has come in a list; nil: none.
func (c compactRate) limit() *v1alpha1.RateLimit {
	if c.requests == 0 {
		return nil
	}
	return &v1alpha1.RateLimit{Requests: c.requests, Window: metav1.Duration{Duration: c.rate().Window}}
}

// rate returns it as package rate counts it; the zero Rate for none.
func (c compactRate) rate() rate.Rate {
	return rate.Rate{Requests: int64(c.requests), Window: time.Duration(c.window) * time.Millisecond}
}
