// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// reservations are the places that are being written into a status right now, each with the key that it is for. They
// cover the time between a write to the apiserver and its coming back through the cache. In that time the cache does
// not show yet which key has the place, and two workers could give it to two keys.
//
// They live in this process alone. Two leaders that overlap may both write; rivalsOf finds that out.
type reservations struct {
	mu      sync.Mutex
	byPlace map[place]holder
	byName  map[types.NamespacedName]place // one a key at most, so that a name is enough to end it
}

// place is where an organization's key is found. One ApiKey at a time has it. The namespace stands for the
// organization: of two that had this name, only one is there.
type place struct {
	namespace string
	lookup    key.Lookup
}

func placeOf(k *v1alpha1.ApiKey, lookup key.Lookup) place { return place{k.Namespace, lookup} }

// holder is the key that a place is reserved for. The UID tells an ApiKey from an earlier one of its name.
type holder struct {
	name types.NamespacedName
	uid  types.UID
}

func holderOf(k *v1alpha1.ApiKey) holder { return holder{client.ObjectKeyFromObject(k), k.UID} }

func newReservations() *reservations {
	return &reservations{byPlace: map[place]holder{}, byName: map[types.NamespacedName]place{}}
}

// reserve takes a place for a key; it returns false if it is another key's. What was reserved under the key's own name
// before is dropped: it is left from an earlier try, or from an ApiKey that has been deleted and made again since.
func (s *reservations) reserve(p place, by holder) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// By name, as an ApiKey made again under it stands in nobody else's way: the one before is gone.
	if other, ok := s.byPlace[p]; ok && other.name != by.name {
		return false
	}
	if earlier, ok := s.byName[by.name]; ok {
		s.drop(by.name, earlier)
	}
	s.byPlace[p] = by
	s.byName[by.name] = p
	return true
}

// seen ends the reservation of a key that the cache shows with its hash: from here on the cache tells. An event of an
// earlier ApiKey of the name may come late, and must not end what its successor holds.
func (s *reservations) seen(name types.NamespacedName, uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.byName[name]; ok && s.byPlace[p].uid == uid {
		s.drop(name, p)
	}
}

// has tells whether something is reserved for a key of that name.
func (s *reservations) has(name types.NamespacedName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.byName[name]
	return ok
}

// forget ends the reservation of a key that is gone, or is not to have what was reserved.
func (s *reservations) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.byName[name]; ok {
		s.drop(name, p)
	}
}

// drop is called with the lock held.
func (s *reservations) drop(name types.NamespacedName, p place) {
	delete(s.byName, name)
	if s.byPlace[p].name == name {
		delete(s.byPlace, p)
	}
}
