// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Index holds every key that has a hash, and every Profile. Looking a key up takes no lock; all else does.
//
// It knows the requests that are running, too: whatever ends a key cuts its flights before it returns. Every
// change goes in this order: change under the lock, unlock, cut. Cutting calls hooks that look at the index themselves;
// under the lock, they would wait for ever.
type Index struct {
	keys    *table
	flights flights
	used    atomic.Pointer[Key] // the first of a list of keys whose use is to be taken; see TakeUsed
	// countsUse: somebody takes what is counted. It is set before the first request.
	countsUse bool
	// commitsOver is called, without a lock held, whenever a write is over that had passed its commit point before its key
	// ceased to be served. It is set before the first request.
	commitsOver func()
	onWithdraw  func(k *Key, done func()) // see OnWithdraw; nil: nobody is to be told
	most        int                       // keys of one organization; 0: any number
	// onRoom is called, with the lock held, when there is room for keys that were turned away: they are to be put again.
	onRoom    func()
	onRevoked func(k *Key, running int) // see OnRevoked; nil: nobody is to be told
	onLeak    func()                    // see OnLeak

	// It guards what follows, tenants and pins included, and whatever writes to keys.
	mu            sync.Mutex
	organizations map[caller.Organization]*tenant
	pins          map[types.UID]*pin // by Profile id
	revoked       []*Key             // that onRevoked has not been told of yet
	leaks         leaks
}

// tenant is what the index knows of one organization. An object that says it belongs to the organization of another
// namespace than its own does not come among that one's: what it is held under names its own namespace, by which it is
// let go.
type tenant struct {
	organization *caller.Organization
	keys         map[*Key]struct{}
	ranks        ranks // of keys, once there were too many; nil: not asked for yet
	turnedAway   bool  // there are keys that have no room here
	profiles     map[types.UID]*Profile

	// Listings are sorted when first asked for, and thrown away when something changes.
	keyListings    map[types.UID][]*Key // by Profile id; "" is the whole organization
	keyChanges     int                  // how often keys has changed
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
		onRoom:        func() {},
		onLeak:        func() {},
		organizations: map[caller.Organization]*tenant{},
		pins:          map[types.UID]*pin{},
		leaks:         leaks{known: map[key.Lookup][]leak{}, listed: map[types.UID]key.Digest{}},
	}
}

// Size returns the number of keys held.
func (x *Index) Size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.keys.size
}

// tenant returns what is known of an organization, as yet perhaps nothing.
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

// dropTenantIfUnused forgets an organization of which nothing is held any more: namespaces come and go.
func (x *Index) dropTenantIfUnused(t *tenant) {
	if len(t.keys) == 0 && len(t.profiles) == 0 {
		delete(x.organizations, *t.organization)
	}
}

// within tells whether what is in a namespace is in scope: a namespace, or metav1.NamespaceAll.
func within(scope, namespace string) bool { return scope == metav1.NamespaceAll || scope == namespace }
