// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package authn knows who is calling: it turns an Authorization header into a Caller or a typed Refusal, and cuts the
// requests of callers who are no longer good.
//
// It asks nobody. An Index, fed by the apiserver's list and watch, holds a compact entry for every key, found by its
// hash without a lock; package lifecycle decides at the moment of the request whether the key is served. No plaintext
// is ever held.
package authn

import "github.com/letmepost/letmepost-operator/internal/caller"

// Identity is whose key a request was made with, as the index knows them. Its pointers lead to immutable values.
//
// It stays in this room: to all others a request comes from a caller.Caller, who need not be a key.
type Identity struct {
	Key *Key
	// Profile that the key is pinned to; nil if it reaches the whole organization.
	Profile *Profile
}

// Caller returns the Caller that acts by the key; the zero one for the zero Identity. It allocates nothing.
func (id Identity) Caller() caller.Caller {
	k := id.Key
	if k == nil {
		return caller.Caller{}
	}
	c := caller.Caller{
		Organization: *k.Organization,
		Environment:  k.Environment(),
		Scopes:       k.Scopes,
		Actor:        caller.KeyActor(string(k.id), k.Name, k.ExpiresAt(), k.last4),
		Rate:         k.rate.rate(),
		Meter:        &k.meter,
	}
	if p := id.Profile; p != nil {
		c.Profile = &p.Profile
		if k.rate.requests == 0 {
			c.Rate = p.rate.rate()
		}
	}
	return c
}
