// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// Index holds every key that has a hash, and every Profile. Looking a key up takes no lock; all else does.
//
// It knows the requests that are running, too: whatever ends a key cuts its flights before it returns.
type Index struct {
	keys    *table
	flights flights
	// commitsOver is called, without a lock held, whenever a write is over that had passed its commit point before its key
	// ceased to be served. It is set before the first request.
	commitsOver func()
	withdraw    func(k *Key, done func()) // see OnWithdraw; nil: nobody is to be told
	revoked     func(k *Key, running int) // see OnRevoked; nil: nobody is to be told

	mu            sync.Mutex
	organizations map[caller.Organization]*tenant
	pins          map[types.UID]*pin // by Profile id
	ended         []*Key             // by deletion, and not yet told of
}

// tenant is what the index knows of one organization. An object that says it belongs to the organization of another
// namespace than its own does not come among that one's: what it is held under names its own namespace, by which it is
// let go.
type tenant struct {
	organization *caller.Organization
	keys         map[*Key]struct{}
	profiles     map[types.UID]*Profile

	// Listings are sorted when first asked for, and thrown away when something changes.
	keyListings    map[types.UID][]*Key // by Profile id; "" is the whole organization
	keyChanges     int
	profileListing []*caller.Profile
}

// changeKeys is called whenever keys has changed.
func (t *tenant) changeKeys() {
	t.keyChanges++
	clear(t.keyListings)
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{
		keys:          newTable(),
		flights:       flights{commits: map[types.UID]int{}, waiting: map[types.UID]func(){}},
		commitsOver:   func() {},
		organizations: map[caller.Organization]*tenant{},
		pins:          map[types.UID]*pin{},
	}
}

// Size returns the number of keys held.
func (x *Index) Size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.keys.size
}

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

	// A revocation waits for the lock, and is not to wait for the sorting of a large organization.
	slices.SortFunc(listing, func(a, b *Key) int { return newestFirst(a.CreatedAt(), b.CreatedAt(), a.ID(), b.ID()) })
	x.mu.Lock()
	defer x.mu.Unlock()
	if t.keyChanges == changes {
		t.keyListings[profileID] = listing
	}
	return listing
}

// Profiles returns the Profiles that c may see, newest first: those of its organization, or its own if it is confined to
// one. The slice is shared: it must not be changed.
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

func newestFirst[ID ~string](a, b time.Time, aID, bID ID) int {
	if c := b.Compare(a); c != 0 {
		return c
	}
	return strings.Compare(string(bID), string(aID))
}

// PutKey takes an ApiKey in, as it is now.
func (x *Index) PutKey(o *v1alpha1.ApiKey) {
	ended, leaked := x.putKey(o)
	if ended {
		x.cutUnserved()
	}
	if leaked != nil {
		x.withdrawKey(leaked)
	}
}

// putKey tells whether a key has ceased to be served, as all below do that change something. And it returns the key if
// it is to be withdrawn from now on.
func (x *Index) putKey(o *v1alpha1.ApiKey) (ended bool, leaked *Key) {
	hash, err := key.ParseHash(o.Status.Hash)
	if err != nil || o.Status.OrganizationID == "" {
		return false, nil // not minted: nobody can hold this key
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	life := lifecycle.KeyOf(o)
	if old := x.keys.get(hash); old != nil {
		if old.key.id == life.ID {
			// Nothing else of a key changes, once it has its hash. And no flag goes away again: an object without one that is
			// there already comes from the past, and must not bring the key back.
			flags := flagsOf(o, life) & (deleting | duplicate | withdrawn)
			added := flags &^ old.state.Or(flags)
			if added&deleting != 0 {
				x.end(old.key)
			}
			if added&withdrawn != 0 {
				leaked = old.key
			}
			return added&(deleting|duplicate) != 0, leaked
		}
		if !lifecycle.Precedes(life, old.seniority()) {
			return false, nil // two keys, one hash: the rightful one is served, the controller refuses the other
		}
		x.drop(old)
		ended = true
	}
	k, flags := x.newKey(o, life), flagsOf(o, life)
	x.keys.put(hash, k, flags)
	t := x.organizations[*k.Organization]
	t.keys[k] = struct{}{}
	t.changeKeys()
	if flags&withdrawn != 0 {
		leaked = k
	}
	return ended, leaked
}

func (x *Index) newKey(o *v1alpha1.ApiKey, life lifecycle.Key) *Key {
	k := &Key{
		Name:         o.Name,
		live:         o.Spec.Environment == v1alpha1.EnvironmentLive,
		Scopes:       caller.ScopesOf(o.Spec.Scopes),
		Organization: x.tenant(o.Status.OrganizationID, o.Namespace).organization,
		id:           life.ID,
		createdAt:    life.CreatedAt,
		mintedAt:     life.MintedAt.Unix(),
		last4:        last4Of(o),
		rate:         rateOf(o.Spec.RateLimit),
	}
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
	if _, end, ok := strings.Cut(o.Status.Hint, "…"); ok {
		copy(last4[:], end)
	}
	return last4
}

// flagsOf is what of an ApiKey stands in its slot's state.
func flagsOf(o *v1alpha1.ApiKey, life lifecycle.Key) uint32 {
	flags := taken
	if o.Spec.Environment == v1alpha1.EnvironmentLive {
		flags |= live
	}
	if life.Deleting {
		flags |= deleting
		if cancelsScheduled(o) {
			flags |= withdrawn
		}
	}
	if life.Duplicate {
		flags |= duplicate
	}
	return flags
}

// RemoveKey takes out the ApiKey with this hash and UID, if it is there.
func (x *Index) RemoveKey(o *v1alpha1.ApiKey) {
	if x.removeKey(o) {
		x.cutUnserved()
	}
}

func (x *Index) removeKey(o *v1alpha1.ApiKey) (ended bool) {
	hash, err := key.ParseHash(o.Status.Hash)
	if err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.keys.get(hash)
	if s == nil || s.key.id != o.UID {
		return false
	}
	if s.state.Load()&deleting == 0 {
		x.end(s.key)
	}
	x.drop(s)
	return true
}

// retainKeys takes out every key of a namespace (metav1.NamespaceAll: of all) whose UID is not among ids.
func (x *Index) retainKeys(namespace string, ids map[types.UID]struct{}) {
	if x.dropKeysBut(namespace, ids) {
		x.cutUnserved()
	}
}

func (x *Index) dropKeysBut(namespace string, ids map[types.UID]struct{}) (ended bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for organization, t := range x.organizations {
		if !within(namespace, organization.Name) {
			continue
		}
		for k := range t.keys {
			if _, ok := ids[k.id]; !ok {
				s := k.slot.Load()
				if s.state.Load()&deleting == 0 {
					x.end(k)
				}
				x.drop(s)
				ended = true
			}
		}
	}
	return ended
}

// within tells whether what is in a namespace is in scope: a namespace, or metav1.NamespaceAll.
func within(scope, namespace string) bool { return scope == metav1.NamespaceAll || scope == namespace }

// drop ends a key: no lookup finds it any more. Its flights are still to be cut.
func (x *Index) drop(s *slot) {
	k := s.key
	x.keys.bury(s)
	t := x.organizations[*k.Organization]
	delete(t.keys, k)
	t.changeKeys()
	x.releaseTenant(t)
	if k.pin != nil {
		k.pin.keys--
		x.releasePin(k.pin.id)
	}
}

// PutProfile takes a Profile in, as it is now.
func (x *Index) PutProfile(o *v1alpha1.Profile) {
	if x.putProfile(o) {
		x.cutUnserved()
	}
}

func (x *Index) putProfile(o *v1alpha1.Profile) (ended bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
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

// RemoveProfile takes out the Profile with this UID, if it is there.
func (x *Index) RemoveProfile(o *v1alpha1.Profile) {
	x.mu.Lock()
	ended := x.dropProfile(o.UID)
	x.mu.Unlock()
	if ended {
		x.cutUnserved()
	}
}

// retainProfiles takes out every Profile of a namespace (metav1.NamespaceAll: of all) whose UID is not among ids.
func (x *Index) retainProfiles(namespace string, ids map[types.UID]struct{}) {
	ended := false
	x.mu.Lock()
	for id, pin := range x.pins {
		p := pin.profile.Load()
		if p == nil || !within(namespace, p.namespace) {
			continue
		}
		if _, ok := ids[id]; !ok {
			ended = x.dropProfile(id) || ended
		}
	}
	x.mu.Unlock()
	if ended {
		x.cutUnserved()
	}
}

func (x *Index) dropProfile(id types.UID) (ended bool) {
	pin := x.pins[id]
	if pin == nil {
		return false
	}
	p := pin.profile.Swap(nil)
	ended = p != nil && pin.keys > 0
	x.releasePin(id)
	if p == nil || p.organization == nil {
		return ended
	}
	t := x.organizations[*p.organization]
	delete(t.profiles, id)
	t.profileListing = nil
	x.releaseTenant(t)
	return ended
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

func (x *Index) releasePin(id types.UID) {
	if p := x.pins[id]; p.keys == 0 && p.profile.Load() == nil {
		delete(x.pins, id)
	}
}

func (x *Index) tenant(id, name string) *tenant {
	organization := caller.Organization{ID: id, Name: name}
	t := x.organizations[organization]
	if t == nil {
		t = &tenant{
			organization: &organization,
			keys:         map[*Key]struct{}{},
			profiles:     map[types.UID]*Profile{},
			keyListings:  map[types.UID][]*Key{},
		}
		x.organizations[organization] = t
	}
	return t
}

func (x *Index) releaseTenant(t *tenant) {
	if len(t.keys) == 0 && len(t.profiles) == 0 {
		delete(x.organizations, *t.organization)
	}
}

// updatedAt is the time of the last change that is not of the status.
func updatedAt(o *v1alpha1.Profile) time.Time {
	latest := o.CreationTimestamp.Time
	for _, entry := range o.ManagedFields {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(latest) {
			latest = entry.Time.Time
		}
	}
	return latest.UTC()
}
