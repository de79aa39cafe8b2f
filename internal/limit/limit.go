// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limit holds callers to their rates: keys by what package authn counts in this process or, if Redis is
// configured, across all of them; and addresses that fail to authenticate.
package limit

import (
	"context"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/authn"
)

// Options say how keys are limited. Default is required.
type Options struct {
	// Default is the rate of keys that have none of their own and whose Profile has none.
	Default authn.Rate
	// RedisURL is "redis://…" or "rediss://…"; "": each process limits by itself.
	RedisURL   string
	Registerer prometheus.Registerer
}

// Keys limits keys.
type Keys struct{}

// NewKeys returns a limiter. Redis is not reached before the first request.
func NewKeys(o Options) (*Keys, error) { panic("TODO") }

// Take takes one request out of the allowance of the caller's key. While Redis can't be asked, this process limits by
// itself.
func (k *Keys) Take(ctx context.Context, caller authn.Identity, now time.Time) authn.Allowance {
	panic("TODO")
}

// Close closes the connections to Redis.
func (k *Keys) Close() error { panic("TODO") }

// Addresses limits what addresses may do. It remembers a bounded number of them, those seen last.
type Addresses struct{}

// NewAddresses returns a limiter for every address at rate. The zero rate is unlimited.
func NewAddresses(rate authn.Rate) *Addresses { panic("TODO") }

// Take takes one failure out of the allowance of an address; IPv6 addresses of one /64 share theirs.
func (a *Addresses) Take(address netip.Addr, now time.Time) authn.Allowance { panic("TODO") }
