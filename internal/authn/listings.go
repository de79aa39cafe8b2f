// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// Keys returns the keys that c may see, newest first: those of its organization, or of its Profile if it is confined to
// one. The slice is shared: it must not be changed.
func (x *Index) Keys(c *caller.Caller) []*Key {
	profileID := types.UID(c.ProfileID())
	x.mu.Lock()
	t := x.organizations[c.Organization]
	if t == nil {
		x.mu.Unlock()
		return nil
	}
	listing, ok := t.keyListings[profileID]
	if ok {
		x.mu.Unlock()
		return listing
	}
	for k := range t.keys {
		if profileID == "" || k.ProfileID() == profileID {
			listing = append(listing, k)
		}
	}
	changes := t.keyChanges
	x.mu.Unlock()

	// Sorted without the lock: a revocation waits for it, and is not to wait for the sorting of a large organization. So
	// the listing may be out of date by now, and is then returned, but not kept.
	slices.SortFunc(listing, func(a, b *Key) int {
		if c := cmp.Compare(b.createdAt, a.createdAt); c != 0 {
			return c
		}
		return compareIDs(b, a)
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	// The organization may have been forgotten meanwhile: then this is kept where nobody looks.
	if t.keyChanges == changes {
		t.keyListings[profileID] = listing
	}
	return listing
}

// Organizations returns those that have keys or profiles, in no order.
func (x *Index) Organizations() []caller.Organization {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.organizations))
}

// keyOf returns a key of an organization by its UID; nil: there is none. It is for what happens seldom, and goes
// through all of the organization's keys.
func (x *Index) keyOf(organization caller.Organization, id types.UID) *Key {
	keys := x.Keys(&caller.Caller{Organization: organization})
	if i := slices.IndexFunc(keys, func(k *Key) bool { return k.ID() == id }); i >= 0 {
		return keys[i]
	}
	return nil
}

// Profiles returns the Profiles that c may see, newest first: those of its organization, or its own if it is confined
// to one. The slice is shared: it must not be changed.
func (x *Index) Profiles(c *caller.Caller) []*caller.Profile {
	if c.Profile != nil {
		return []*caller.Profile{c.Profile}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.organizations[c.Organization]
	if t == nil {
		return nil
	}
	if t.profileListing == nil {
		for _, p := range t.profiles {
			t.profileListing = append(t.profileListing, &p.Profile)
		}
		slices.SortFunc(t.profileListing, func(a, b *caller.Profile) int {
			return newestFirst(a.CreatedAt, b.CreatedAt, a.ID, b.ID)
		})
	}
	return t.profileListing
}

// newestFirst is the order of all listings: by creation, and by id where that is the same second.
func newestFirst[ID ~string](a, b time.Time, aID, bID ID) int {
	if c := b.Compare(a); c != 0 {
		return c
	}
	return strings.Compare(string(bID), string(aID))
}
