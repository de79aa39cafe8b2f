// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import "time"

// Rate is an allowance: so many requests in so much time, all of them at once if the caller likes. The zero Rate is
// unlimited.
type Rate struct {
	Requests int64
	Window   time.Duration
}

// Allowance is what there is left of a Rate.
type Allowance struct {
	Allowed    bool
	Rate       Rate          // zero: unlimited, and nothing else is set
	Remaining  int64         // requests that could follow at once
	Reset      time.Duration // until Remaining is all of it again, if none follow
	RetryAfter time.Duration // until one request is allowed again; 0 if it is allowed
}

// Rate returns the rate of the caller's key: the key's own, else that of its Profile, else otherwise.
func (id Identity) Rate(otherwise Rate) Rate { panic("TODO") }

// Take takes one request out of the key's allowance, as this process knows it: the generic cell rate algorithm, on one
// word of the key's entry. It takes no lock and allocates nothing.
func (k *Key) Take(rate Rate, now time.Time) Allowance { panic("TODO") }
