// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// PutProfile takes a Profile in, as it is now.
func (x *Index) PutProfile(o *v1alpha1.Profile) {
	if x.putProfile(o) {
		x.cutUnserved()
	}
}

// putProfile tells whether the keys that are pinned to the Profile have ceased to be served by this.
func (x *Index) putProfile(o *v1alpha1.Profile) (unserved bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := newProfile(o)
	// Until the controller has said whose it is, keys may be pinned to it, but nobody is shown it.
	if o.Status.OrganizationID != "" {
		t := x.tenant(o.Status.OrganizationID, o.Namespace)
		p.organization = t.organization
		t.profiles[o.UID] = p
		t.profileListing = nil
	}
	pin := x.pin(o.UID)
	before := pin.profile.Load()
	wasDeleting := before != nil && before.life.Deleting
	p.life.Deleting = p.life.Deleting || wasDeleting // for good, as with keys
	pin.profile.Store(p)                             // last: readers take no lock
	return p.life.Deleting && !wasDeleting
}

// newProfile reads a Profile, but for its organization, which the index knows.
func newProfile(o *v1alpha1.Profile) *Profile {
	p := &Profile{
		Profile: caller.Profile{
			ID:          string(o.UID),
			Name:        o.Name,
			DisplayName: o.Spec.DisplayName,
			CreatedAt:   o.CreationTimestamp.UTC(),
			UpdatedAt:   updatedAt(o),
		},
		uid:       o.UID,
		life:      *lifecycle.ProfileOf(o),
		rate:      rateOf(o.Spec.DefaultRateLimit),
		namespace: o.Namespace,
	}
	if p.DisplayName == "" {
		p.DisplayName = o.Name
	}
	return p
}

// updatedAt is the time of the last change that is not of the status. The API says so in managedFields alone.
func updatedAt(o *v1alpha1.Profile) time.Time {
	latest := o.CreationTimestamp.Time
	for _, entry := range o.ManagedFields {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(latest) {
			latest = entry.Time.Time
		}
	}
	return latest.UTC()
}

// RemoveProfile takes out the Profile with this UID, if it is there.
func (x *Index) RemoveProfile(o *v1alpha1.Profile) {
	x.mu.Lock()
	unserved := x.dropProfile(o.UID)
	x.mu.Unlock()
	if unserved {
		x.cutUnserved()
	}
}

// retainProfiles takes out every Profile of a namespace (metav1.NamespaceAll: of all) whose UID is not among ids.
func (x *Index) retainProfiles(namespace string, ids map[types.UID]struct{}) {
	unserved := false
	x.mu.Lock()
	for id, pin := range x.pins {
		p := pin.profile.Load()
		// A pin whose Profile is not there has none to take out. It stays for its keys.
		if p == nil || !within(namespace, p.namespace) {
			continue
		}
		if _, ok := ids[id]; !ok {
			unserved = x.dropProfile(id) || unserved
		}
	}
	x.mu.Unlock()
	if unserved {
		x.cutUnserved()
	}
}

// dropProfile takes a Profile out. The keys that are pinned to it stay, with a pin that leads nowhere: they are refused
// until that Profile is put again. mu must be held, as by all below.
func (x *Index) dropProfile(id types.UID) (unserved bool) {
	pin := x.pins[id]
	if pin == nil {
		return false
	}
	p := pin.profile.Swap(nil)
	unserved = p != nil && pin.keys > 0
	x.dropPinIfUnused(id)
	if p == nil || p.organization == nil {
		return unserved
	}
	t := x.organizations[*p.organization]
	delete(t.profiles, id)
	t.profileListing = nil
	x.dropTenantIfUnused(t)
	return unserved
}

// pin returns the pin of a Profile, which may not be there yet: keys and Profiles arrive by two watches.
func (x *Index) pin(id types.UID) *pin {
	p := x.pins[id]
	if p == nil {
		p = &pin{id: id}
		x.pins[id] = p
	}
	return p
}

// dropPinIfUnused forgets a pin that ties no key to no Profile. It must be there, as it is for whoever holds it: a key,
// or a Profile.
func (x *Index) dropPinIfUnused(id types.UID) {
	if p := x.pins[id]; p.keys == 0 && p.profile.Load() == nil {
		delete(x.pins, id)
	}
}
