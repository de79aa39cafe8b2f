// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle says what a key may do now. It is pure, and it is the one truth for whoever asks: the controller
// derives Ready from it, the API decides every request by it.
//
//	            ┌── ProfileNotFound ◄─┐ the Profile goes
//	            ▼  (never bound)      │
//	Pending ──► hash written ──► Active ──► Expired
//	                                  └──► deleted: revoked
//
// Leaked comes over a key in any state, and passes only when the LeakedKey of it is deleted.
// DuplicateHash is final for a key that has its hash. One that has none yet waits for the key that has it to be gone.
package lifecycle

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Key is what of an ApiKey decides whether it is served. It is small, because the API holds one for every key.
type Key struct {
	ID        types.UID
	CreatedAt time.Time
	MintedAt  time.Time // zero: no hash has been written yet
	Hashed    bool      // the hash is in status: the key exists
	Deleting  bool      // deletionTimestamp is set: the key is revoked
	Leaked    bool      // somebody has reported it, by showing it
	Duplicate bool      // has its hash and is refused for good: another key had that first
	Pinned    bool      // the key wants a Profile
	ProfileID types.UID
	ExpiresAt time.Time // zero: never
}

// Profile is what of a Profile decides whether the keys pinned to it are served. Nil stands for one that is not there.
type Profile struct {
	ID       types.UID
	Deleting bool
}

// State is the answer to "may this key be used?".
type State struct {
	// Reason is one of the reasons of Ready; "" for a key that is being deleted, which has no state any more.
	Reason string
	// ChangesAt is when the state next changes by the passage of time alone; zero: never.
	ChangesAt time.Time
}

// Served tells whether requests with the key are accepted.
func (s State) Served() bool { return s.Reason == v1alpha1.ReasonActive }

// KeyOf reads an ApiKey.
func KeyOf(k *v1alpha1.ApiKey) Key {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	return Key{
		ID:        k.UID,
		CreatedAt: k.CreationTimestamp.Time,
		MintedAt:  ptr.Deref(k.Status.MintedAt, metav1.Time{}).Time,
		Hashed:    k.Status.Hash != "",
		Deleting:  !k.DeletionTimestamp.IsZero(),
		Leaked:    ready != nil && ready.Reason == v1alpha1.ReasonLeaked,
		Duplicate: k.Status.Hash != "" && ready != nil && ready.Reason == v1alpha1.ReasonDuplicateHash,
		Pinned:    k.Spec.ProfileRef != nil,
		ProfileID: types.UID(k.Status.ProfileID),
		ExpiresAt: expiry(k),
	}
}

// expiry is the effective one once the key is minted, and the wanted one before.
func expiry(k *v1alpha1.ApiKey) time.Time {
	if k.Status.ExpiresAt != nil {
		return k.Status.ExpiresAt.Time
	}
	return ptr.Deref(k.Spec.ExpiresAt, metav1.Time{}).Time
}

// ProfileOf reads a Profile; nil gives nil.
func ProfileOf(p *v1alpha1.Profile) *Profile {
	if p == nil {
		return nil
	}
	return &Profile{ID: p.UID, Deleting: !p.DeletionTimestamp.IsZero()}
}

// Of decides. profile is the one that the key's profileRef names now, or for the API the one whose UID the key is bound
// to; it is ignored for a key that is not pinned.
//
// The cases are in the order of how final they are. A key for which several hold gets the reason that nothing can cure.
func Of(k Key, profile *Profile, now time.Time) State {
	switch {
	case k.Deleting:
		return State{}
	case k.Leaked:
		return State{Reason: v1alpha1.ReasonLeaked}
	case k.Duplicate:
		return State{Reason: v1alpha1.ReasonDuplicateHash}
	case k.expired(now):
		return State{Reason: v1alpha1.ReasonExpired}
	case k.Pinned && !k.boundTo(profile):
		return State{Reason: v1alpha1.ReasonProfileNotFound, ChangesAt: k.ExpiresAt}
	case !k.Hashed:
		return State{Reason: v1alpha1.ReasonPending, ChangesAt: k.ExpiresAt}
	default:
		return State{Reason: v1alpha1.ReasonActive, ChangesAt: k.ExpiresAt}
	}
}

// expired is true from the very instant of expiry on.
func (k Key) expired(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

// boundTo tells whether profile is there and is the one that the key is bound to. A key that has not been bound yet can
// be bound to any.
func (k Key) boundTo(profile *Profile) bool {
	if profile == nil || profile.Deleting {
		return false
	}
	return profile.ID == k.ProfileID || k.ProfileID == "" && !k.Hashed
}

// Expiry is a new key's effective expiry: the sooner of the wanted one and mintedAt plus the Profile's ceiling. A nil
// result means never.
func Expiry(wanted *time.Time, profile *v1alpha1.Profile, mintedAt time.Time) *time.Time {
	if profile == nil || profile.Spec.MaxKeyLifetime == nil {
		return wanted
	}
	ceiling := mintedAt.Add(profile.Spec.MaxKeyLifetime.Duration)
	if wanted != nil && wanted.Before(ceiling) {
		return wanted
	}
	return &ceiling
}

// Precedes tells whether a, of two keys of one organization with one lookup, is the rightful owner: the one whose hash
// was written first; if neither has it yet, the older; at the same second, the one with the smaller UID. One that has
// been found a duplicate comes last. It is a total order of what both controller and API can see, so that each finds
// the same owner by itself.
func Precedes(a, b Key) bool {
	switch {
	case a.Duplicate != b.Duplicate:
		return b.Duplicate
	case a.Hashed != b.Hashed:
		return a.Hashed
	case !a.MintedAt.Equal(b.MintedAt):
		return a.MintedAt.Before(b.MintedAt)
	case !a.CreatedAt.Equal(b.CreatedAt):
		return a.CreatedAt.Before(b.CreatedAt)
	default:
		return a.ID < b.ID
	}
}
