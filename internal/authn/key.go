// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// Key is what the API knows of a v1alpha1.ApiKey whose hash has been written. That is written once, like all else here:
// a Key is the same from the day it is minted to the day it is revoked, but for what it counts. So readers need no lock
// for it.
type Key struct {
	Scopes       caller.Scopes
	Claims       caller.Claims
	Organization *caller.Organization

	names      string               // the resource name, and then the UID
	nameLength uint16               // of the resource name
	uuid       bool                 // the UID stands in names as the 16 bytes of a UUID, and not as text
	live       bool                 // its environment is key.Live
	last4      [4]byte              // zero for a key brought by hash
	createdAt  uint32               // Unix seconds, as far as 2106
	mintedAt   uint32               // Unix seconds, likewise; 0: never
	expiresAt  int64                // Unix seconds; 0: never
	pin        *pin                 // nil: not pinned
	slot       atomic.Pointer[slot] // where it stands in the table; nil once it is gone
	rate       compactRate          // its own
	meter      rate.Meter
	tally      tally                         // what it was used for
	caller     atomic.Pointer[caller.Caller] // see Identity.Caller; nil: nobody has come with it yet
}

// setNames sets name and UID. They stand in one piece of memory, and a UID takes 16 bytes of it where it is a UUID, as
// the apiserver's are: that is a tenth of what a key takes in all.
func (k *Key) setNames(name string, id types.UID) {
	k.nameLength = uint16(min(len(name), math.MaxUint16)) // the apiserver takes no name of more than 253
	name = name[:k.nameLength]
	if u, err := uuid.Parse(string(id)); err == nil && u.String() == string(id) {
		k.names, k.uuid = name+string(u[:]), true
		return
	}
	k.names = name + string(id)
}

// Name returns the resource name of the ApiKey.
func (k *Key) Name() string { return k.names[:k.nameLength] }

// ID returns the UID of the ApiKey. It is put together each time: compareIDs compares without that.
func (k *Key) ID() types.UID {
	id := k.names[k.nameLength:]
	if k.uuid {
		return types.UID(uuid.UUID([]byte(id)).String())
	}
	return types.UID(id)
}

// compareIDs compares the UIDs of two keys as texts. UUIDs have the same order as their bytes.
func compareIDs(a, b *Key) int {
	if a.uuid && b.uuid {
		return strings.Compare(a.names[a.nameLength:], b.names[b.nameLength:])
	}
	return strings.Compare(string(a.ID()), string(b.ID()))
}

// Environment returns the environment that the key opens.
func (k *Key) Environment() key.Environment {
	if k.live {
		return key.Live
	}
	return key.Test
}

// CreatedAt returns when the ApiKey was created, to the second.
func (k *Key) CreatedAt() time.Time { return fromUnixSeconds(int64(k.createdAt)) }

// minted returns when the key was minted, to the second; zero: it was not.
func (k *Key) minted() time.Time { return fromUnixSeconds(int64(k.mintedAt)) }

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

// State says what may be done with the key at now, as lifecycle decides it. One that is gone is as one that is being
// deleted.
func (k *Key) State(now time.Time) lifecycle.State {
	s := k.slot.Load()
	if s == nil {
		return lifecycle.State{}
	}
	state, _ := s.standing(now)
	return state
}

// refusal says why the key is not served at now; nil: it is. Without a time, expiry is left out of account: that is for
// whoever has no clock and asks only whether somebody ended the key. It follows the pointer to the slot each time,
// since a rebuild moves keys.
func (k *Key) refusal(now time.Time) error {
	s := k.slot.Load()
	if s == nil {
		return Revoked
	}
	_, err := s.recognise(now)
	return err
}

// toUnixSeconds is how many seconds after 1970 t is; 0 for the zero time, and for any that does not fit.
func toUnixSeconds(t time.Time) uint32 {
	if s := t.Unix(); s > 0 && s <= math.MaxUint32 {
		return uint32(s)
	}
	return 0
}

// fromUnixSeconds is the time that so many seconds after 1970 is, in UTC; 0 is the zero time.
func fromUnixSeconds(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// Identity is whose key a request was made with, as the index knows them. Its pointers lead to immutable values.
//
// It stays in this room: to all others a request comes from a caller.Caller, who need not be a key.
type Identity struct {
	Key *Key
	// Profile that the key is pinned to; nil if it reaches the whole organization.
	Profile *Profile
}

// nobody is the Caller of those who were not recognised.
var nobody caller.Caller

// Caller returns the Caller that acts by the key; the zero one for the zero Identity. It must not be changed: it is
// made with the key's first request, and then shared by all until the key's Profile changes. Most keys of an index come
// to nothing of a process for hours, so that it is not there before; it takes half as much memory as the Key. A copy
// for each request was a tenth of what a GET /v1/whoami takes here.
func (id Identity) Caller() *caller.Caller {
	k := id.Key
	if k == nil {
		return &nobody
	}
	var profile *caller.Profile
	if id.Profile != nil {
		profile = &id.Profile.Profile
	}
	// All else that it is made of never changes. Whoever makes another one meanwhile makes the same.
	if made := k.caller.Load(); made != nil && made.Profile == profile {
		return made
	}
	c := &caller.Caller{
		Organization: *k.Organization,
		Environment:  k.Environment(),
		Scopes:       k.Scopes,
		Claims:       k.Claims,
		Actor:        caller.KeyActor(string(k.ID()), k.Name(), k.ExpiresAt(), k.last4),
		Profile:      profile,
		Rate:         k.rate.rate(),
		Meter:        &k.meter,
	}
	if id.Profile != nil && k.rate.requests == 0 {
		c.Rate = id.Profile.rate.rate()
	}
	k.caller.Store(c)
	return c
}

// Profile is what the index knows of a v1alpha1.Profile. It is immutable: a change makes another one, which the pin
// leads to from then on. Readers of the old one keep it for the request that they are at.
type Profile struct {
	caller.Profile

	uid          types.UID
	organization *caller.Organization // nil: the controller has not said yet
	namespace    string
	life         lifecycle.Profile
	rate         compactRate // of keys that have none
}

// pin is the tie of keys to one Profile. All keys of a Profile share it, so that the Profile's going is seen at once by
// all of them and costs the same whatever their number.
type pin struct {
	id      types.UID
	profile atomic.Pointer[Profile] // nil: not there (yet, or any more)
	keys    int                     // under Index.mu: the keys that hold this pin
}

// compactRate is a v1alpha1.RateLimit in eight bytes: there may be a million of them.
type compactRate struct {
	requests int32  // 0: there is none
	window   uint32 // milliseconds, as fine as the API has it
}

// rateOf is the rate that somebody has asked for; what the API does not admit is none, so that the server's default
// counts. The schema admits none of these; an object from before it, or past it, must not stop the index.
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
