// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/key"
)

// reservations are the hashes that are being written into a status right now, each with the key that it is for. They
// cover the time between a write to the apiserver and its coming back through the cache. In that time the cache does
// not show yet which key has the hash, and two workers could write one hash to two keys.
//
// They live in this process alone. Two leaders that overlap may both write; rivalsOf finds that out.
type reservations struct {
	mu     sync.Mutex
	byHash map[key.Hash]holder
	byName map[types.NamespacedName]key.Hash // one a key at most, so that a name is enough to end it
}

// holder is the key that a hash is reserved for. The UID tells an ApiKey from an earlier one of its name.
type holder struct {
	name types.NamespacedName
	uid  types.UID
}

func newReservations() *reservations {
	return &reservations{byHash: map[key.Hash]holder{}, byName: map[types.NamespacedName]key.Hash{}}
}

// reserve takes hash for a key; it returns false if it is another key's. What was reserved under the key's own name
// before is dropped: it is left from an earlier try, or from an ApiKey that has been deleted and made again since.
func (s *reservations) reserve(hash key.Hash, by holder) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.byHash[hash]; ok && other.name != by.name {
		return false
	}
	if earlier, ok := s.byName[by.name]; ok {
		s.drop(by.name, earlier)
	}
	s.byHash[hash] = by
	s.byName[by.name] = hash
	return true
}

// seen ends the reservation of a key that the cache shows with its hash: from here on the cache tells.
func (s *reservations) seen(name types.NamespacedName, uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash, ok := s.byName[name]; ok && s.byHash[hash].uid == uid {
		s.drop(name, hash)
	}
}

// forget ends the reservation of a key that is gone.
func (s *reservations) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hash, ok := s.byName[name]; ok {
		s.drop(name, hash)
	}
}

func (s *reservations) drop(name types.NamespacedName, hash key.Hash) {
	delete(s.byName, name)
	if s.byHash[hash].name == name {
		delete(s.byHash, hash)
	}
}
