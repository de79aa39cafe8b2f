// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package authn knows who is calling: it turns an Authorization header into an Identity or a typed Refusal.
//
// It asks nobody. An Index, fed by the apiserver's list and watch, holds a compact entry for every key, found by its
// hash without a lock; the entry is judged by package lifecycle at the moment of the request. No plaintext is ever
// held.
package authn

import (
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

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

// Profile is what the index knows of a v1alpha1.Profile.
type Profile struct {
	caller.Profile

	uid          types.UID
	organization *caller.Organization // nil: the controller has not said yet
	namespace    string
	life         lifecycle.Profile
	rate         compactRate // of keys that have none
}

// Key is what the API knows of a v1alpha1.ApiKey whose hash has been written. That is written once, like all else here:
// a Key is the same from the day it is minted to the day it is revoked, but for what it counts.
type Key struct {
	Name         string // resource name
	Scopes       caller.Scopes
	Organization *caller.Organization

	id        types.UID
	createdAt time.Time
	mintedAt  int64                // Unix seconds
	expiresAt int64                // Unix seconds; 0: never
	live      bool                 // its environment is key.Live
	last4     [4]byte              // zero for a key brought by hash
	pin       *pin                 // nil: not pinned
	slot      atomic.Pointer[slot] // where it stands in the table; nil once it is gone
	rate      compactRate          // its own
	meter     rate.Meter
}

// ID returns the UID of the ApiKey.
func (k *Key) ID() types.UID { return k.id }

// Environment returns the environment that the key opens.
func (k *Key) Environment() key.Environment {
	if k.live {
		return key.Live
	}
	return key.Test
}

// CreatedAt returns when the ApiKey was created, to the second.
func (k *Key) CreatedAt() time.Time { return k.createdAt }

// Last4 returns the last four characters of the key; "" for a key brought by hash, whose plaintext was never seen.
func (k *Key) Last4() string {
	if k.last4 == ([4]byte{}) {
		return ""
	}
	return string(k.last4[:])
}

// ProfileID returns the UID of the Profile that the key is pinned to, or "".
func (k *Key) ProfileID() types.UID {
	if k.pin == nil {
		return ""
	}
	return k.pin.id
}

// ExpiresAt returns the effective expiry; zero means never.
func (k *Key) ExpiresAt() time.Time { return timeOf(k.expiresAt) }

// LastUsedAt returns when this process last accepted the key, to the minute; zero if it has not since it started.
func (k *Key) LastUsedAt() time.Time {
	if s := k.slot.Load(); s != nil {
		return timeOf(60 * int64(s.lastUsed.Load()))
	}
	return time.Time{}
}

// refusal says why the key is not served at now; nil: it is. Without a time, expiry is left out of account.
func (k *Key) refusal(now time.Time) error {
	s := k.slot.Load()
	if s == nil {
		return Revoked
	}
	state, _ := s.judge(now)
	if !state.Served() {
		return refusalOf(state.Reason)
	}
	return nil
}

// pin is the tie of keys to one Profile. All keys of a Profile share it, so that the Profile's going is seen at once by
// all of them and costs the same whatever their number.
type pin struct {
	id      types.UID
	profile atomic.Pointer[Profile] // nil: not there (yet, or any more)
	keys    int                     // under Index.mu: the keys that hold this pin
}
