// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import "time"

// NewCallersWithin is NewCallers with another bound on what a request may wait for Redis. On a loaded machine that of
// NewCallers passes now and then, though nobody is away.
func NewCallersWithin(o Options, within time.Duration) (*Callers, error) {
	return newCallers(o, within)
}

// Len is the number of addresses that are remembered.
func (a *Addresses) Len() int { return a.meters.Len() }
