// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// PutKey takes an ApiKey in, as it is now.
func (x *Index) PutKey(o *v1alpha1.ApiKey) {
	unserved, toWithdraw := x.putKey(o)
	if unserved {
		x.cutUnserved()
	}
	if toWithdraw != nil {
		x.withdrawKey(toWithdraw) // after the cut: no further write of the key begins
	}
}

// putKey tells whether a key has ceased to be served, as all below do that change something. And it returns the key if
// it is to be withdrawn from now on.
func (x *Index) putKey(o *v1alpha1.ApiKey) (unserved bool, toWithdraw *Key) {
	hash, err := lifecycle.HashOf(o)
	// A hash that can't be read is none that this version knows of: to refuse the key is the safe side.
	if err != nil || o.Status.OrganizationID == "" {
		return false, nil // not minted: nobody can hold this key
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	life := lifecycle.KeyOf(o)
	if known := x.keys.find(hash.Lookup, func(s *slot) bool { return s.key.ID() == life.ID }); known != nil {
		return x.addFlags(known, flagsOf(o, life))
	}
	organization := caller.Organization{ID: o.Status.OrganizationID, Name: o.Namespace}
	if old := x.keys.find(hash.Lookup, func(s *slot) bool { return *s.organization == organization }); old != nil {
		if !lifecycle.Precedes(life, old.seniority()) {
			return false, nil // two keys, one hash: the rightful one is served, the controller refuses the other
		}
		// Before the other is put: there is never a moment at which both are served.
		x.dropKey(old)
		unserved = true
	}
	flags := flagsOf(o, life)
	if x.leaks.has(hash, lifecycle.OwnerOf(o, organization.ID)) {
		flags |= leaked
	}
	room, gone := x.makeRoom(organization, life)
	unserved = unserved || gone
	if !room {
		return unserved, stray(o, organization, flags)
	}
	k := x.newKey(o, life)
	x.keys.put(hash, k, flags) // from here on, lookups find it
	// Not looked up before newKey, which makes the organization: dropKey may just have forgotten it.
	t := x.organizations[*k.Organization]
	t.keys[k] = struct{}{}
	t.ranked(k)
	t.changeKeys()
	if flags&withdrawn != 0 {
		toWithdraw = k
	}
	return unserved, toWithdraw
}

// addFlags changes a key that is held. Nothing else of a key changes, once it has its hash. And no flag goes away
// again: an object without one that is there already comes from the past, and must not bring the key back. The mark of
// a leak alone does, because a leak can be forgiven; until it is, the index knows of it by itself (leaks). mu must be
// held.
func (x *Index) addFlags(s *slot, flags uint32) (unserved bool, toWithdraw *Key) {
	if flags&marked == 0 {
		s.state.And(^marked)
	}
	flags &= deleting | duplicate | withdrawn | marked
	was := s.state.Or(flags)
	added := flags &^ was
	if added&(deleting|marked) != 0 && was&ended == 0 {
		x.noteRevoked(s.key)
	}
	if added&withdrawn != 0 {
		toWithdraw = s.key
	}
	return added&(deleting|duplicate|marked) != 0, toWithdraw
}

// newKey makes the entry of an ApiKey, and ties it to its Profile. A Profile that is not there yet gets its pin all the
// same, so the key is served as soon as it comes. mu must be held.
func (x *Index) newKey(o *v1alpha1.ApiKey, life lifecycle.Key) *Key {
	k := &Key{
		live:         o.Spec.Environment == v1alpha1.EnvironmentLive,
		Scopes:       caller.ScopesOf(o.Spec.Scopes),
		Claims:       caller.ClaimsOf(o.Spec.Claims),
		Organization: x.tenant(o.Status.OrganizationID, o.Namespace).organization,
		createdAt:    toUnixSeconds(life.CreatedAt),
		mintedAt:     toUnixSeconds(life.MintedAt),
		last4:        last4Of(o),
		rate:         rateOf(o.Spec.RateLimit),
	}
	k.setNames(o.Name, life.ID)
	if !life.ExpiresAt.IsZero() {
		k.expiresAt = life.ExpiresAt.Unix()
	}
	if life.Pinned {
		k.pin = x.pin(life.ProfileID)
		k.pin.keys++
	}
	return k
}

// last4Of is the end of the hint; zero for a key brought by hash.
func last4Of(o *v1alpha1.ApiKey) (last4 [4]byte) {
	copy(last4[:], key.Last4(o.Status.Hint))
	return last4
}

// flagsOf is what of an ApiKey stands in its slot's state. withdrawn without deleting would be a wish for later, which
// may still be taken back.
func flagsOf(o *v1alpha1.ApiKey, life lifecycle.Key) uint32 {
	flags := taken
	if o.Spec.Environment == v1alpha1.EnvironmentLive {
		flags |= live
	}
	if life.Deleting {
		flags |= deleting
		if v1alpha1.CancelsScheduled(o.Annotations) {
			flags |= withdrawn
		}
	}
	if life.Duplicate {
		flags |= duplicate
	}
	if life.Leaked {
		flags |= marked
	}
	if life.Pinned {
		flags |= pinned
	}
	if o.Spec.SecretHash != "" {
		flags |= brought
	}
	return flags
}

// RemoveKey takes out the ApiKey with this hash and UID, if it is there.
func (x *Index) RemoveKey(o *v1alpha1.ApiKey) {
	if x.removeKey(o) {
		x.cutUnserved()
	}
}

// removeKey looks at the UID too: with one hash for two ApiKeys, the event may be about the one that is not held.
func (x *Index) removeKey(o *v1alpha1.ApiKey) (unserved bool) {
	hash, err := lifecycle.HashOf(o)
	if err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.keys.find(hash.Lookup, func(s *slot) bool { return s.key.ID() == o.UID })
	if s == nil {
		return false
	}
	x.noteGone(s)
	// Before dropKey, which forgets an organization with its last key.
	t := x.organizations[*s.organization]
	x.dropKey(s)
	x.roomMade(t)
	return true
}

// retainKeys takes out every key of a namespace (metav1.NamespaceAll: of all) whose UID is not among ids.
func (x *Index) retainKeys(namespace string, ids map[types.UID]struct{}) {
	if x.dropKeysExcept(namespace, ids) {
		x.cutUnserved()
	}
}

// dropKeysExcept is how a list takes out what was deleted while nobody watched. The rest of the list is put next.
func (x *Index) dropKeysExcept(namespace string, ids map[types.UID]struct{}) (unserved bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for organization, t := range x.organizations {
		if !within(namespace, organization.Name) {
			continue
		}
		for k := range t.keys {
			if _, ok := ids[k.ID()]; !ok {
				s := k.slot.Load()
				x.noteGone(s)
				x.dropKey(s)
				unserved = true
			}
		}
		if len(t.keys) < x.most {
			t.turnedAway = false // whoever is to be here is put next
		}
	}
	x.keys.reserve(len(ids))
	return unserved
}

// noteGone notes a key as revoked whose ApiKey is gone, unless it was noted when it ended.
func (x *Index) noteGone(s *slot) {
	if s.state.Load()&ended == 0 {
		x.noteRevoked(s.key)
	}
}

// dropKey ends a key: no lookup finds it any more. Its flights are still to be cut. mu must be held. Pins and tenants
// go with the last key that needs them: namespaces come and go for as long as the process runs.
func (x *Index) dropKey(s *slot) {
	k := s.key
	x.keys.remove(s)
	t := x.organizations[*k.Organization]
	delete(t.keys, k)
	t.changeKeys()
	x.dropTenantIfUnused(t)
	if k.pin != nil {
		k.pin.keys--
		x.dropPinIfUnused(k.pin.id)
	}
}

// KeyIDs returns the UIDs of all keys of the organization with this id, served or not; known tells whether there is
// anything of it at all. It is for what happens seldom: it looks at every organization. A feed of some namespaces
// brings nothing of others, so that what is not known there need not be gone.
func (x *Index) KeyIDs(organizationID string) (ids map[string]struct{}, known bool) {
	ids = map[string]struct{}{}
	x.mu.Lock()
	defer x.mu.Unlock()
	for organization, t := range x.organizations {
		if organization.ID != organizationID {
			continue
		}
		known = true
		for k := range t.keys {
			ids[string(k.ID())] = struct{}{}
		}
	}
	return ids, known
}
