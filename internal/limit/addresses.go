// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/letmepost/letmepost-operator/internal/rate"
)

// remembered is the number of addresses whose failures are remembered: some 3 MB of them. Whoever has more than that to
// send from is not stopped by a limit of addresses, and must not be able to fill the memory.
const remembered = 16_384

// Addresses limits what addresses may do. It remembers a bounded number of them, those seen last.
type Addresses struct {
	rate   rate.Rate
	meters *lru.Cache[netip.Addr, *rate.Meter]
}

// NewAddresses returns a limiter of each address's rate. The zero rate is unlimited.
func NewAddresses(each rate.Rate) *Addresses {
	meters, err := lru.New[netip.Addr, *rate.Meter](remembered)
	if err != nil {
		panic(err) // there is one error: a size of zero
	}
	return &Addresses{rate: each, meters: meters}
}

// Take takes one failure out of the allowance of an address; IPv6 addresses of one /64 share theirs.
func (a *Addresses) Take(address netip.Addr, now time.Time) rate.Allowance {
	if a.rate.Unlimited() {
		return rate.Allowance{Allowed: true}
	}
	return a.meter(subscriber(address)).Take(a.rate, now)
}

// meter returns the address's meter. Of two requests that are the first ones at the same time, both get the same: two
// meters would give the address its allowance twice.
func (a *Addresses) meter(of netip.Addr) *rate.Meter {
	if m, ok := a.meters.Get(of); ok {
		return m
	}
	m := new(rate.Meter)
	if before, ok, _ := a.meters.PeekOrAdd(of, m); ok {
		return before
	}
	return m
}

// subscriber is the address that stands for all that whoever has this one can choose from: a /64 is the least that an
// IPv6 subscriber gets.
func subscriber(address netip.Addr) netip.Addr {
	address = address.Unmap()
	if !address.Is6() {
		return address
	}
	prefix, err := address.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.Addr()
}
