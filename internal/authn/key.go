// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// Key is what the API knows of a v1alpha1.ApiKey whose hash has been written. That is written once, like all else here:
// a Key is the same from the day it is minted to the day it is revoked, but for what it counts. So readers need no lock
// for it.
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
func (k *Key) ExpiresAt() time.Time { return fromUnixSeconds(k.expiresAt) }

// LastUsedAt returns when this process last accepted the key, to the minute; zero if it has not since it started.
func (k *Key) LastUsedAt() time.Time {
	if s := k.slot.Load(); s != nil {
		return fromUnixSeconds(60 * int64(s.lastUsed.Load()))
	}
	return time.Time{}
}

// refusal says why the key is not served at now; nil: it is. Without a time, expiry is left out of account: that is for
// whoever has no clock and asks only whether somebody ended the key.
func (k *Key) refusal(now time.Time) error {
	s := k.slot.Load()
	if s == nil {
		return Revoked
	}
	state, _ := s.standing(now)
	if !state.Served() {
		return refusalFor(state.Reason)
	}
	return nil
}

// fromUnixSeconds is the time that so many seconds after 1970 is, in UTC; 0 is the zero time.
func fromUnixSeconds(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
