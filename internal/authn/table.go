// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// table finds a key by its hash. Any number of readers go without a lock beside one writer.
//
// With many keys, fetching from memory is most of what a lookup costs. So it is open addressing with linear probing, and
// all that a request's authentication needs stands in the slot itself, one cache line: a lookup among a million keys
// touches one line that is not in a cache, where a Go map and an entry behind it touch three or four. A slot's place comes
// from a seeded hash of the key's hash, because tenants may bring hashes of their choice and must not be able to make
// them collide.
type table struct {
	seed  maphash.Seed
	slots atomic.Pointer[[]slot]

	// The writer's own.
	used int // slots that are not free
	size int // keys
}

// slot is 64 bytes. All but the atomics is written before state says taken, and never again: a buried slot is not used
// anew until grow leaves it behind.
type slot struct {
	hash      key.Hash
	key       *Key
	pin       *pin  // nil: not pinned
	expiresAt int64 // Unix seconds; 0: never
	state     atomic.Uint32
	lastUsed  atomic.Uint32 // Unix minutes; 0: not since this process started
}

// state of a slot: 0 is free.
const (
	taken     uint32 = 1 << iota
	buried           // the key is gone
	deleting         // the key is being deleted
	duplicate        // another key has the hash by right
	live             // its environment is key.Live
)

const minSlots = 64

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	slots := make([]slot, minSlots)
	t.slots.Store(&slots)
	return t
}

// place is where the search for h begins.
func (t *table) place(slots []slot, h *key.Hash) int {
	i, _ := bits.Mul64(maphash.Bytes(t.seed, h[:]), uint64(len(slots)))
	return int(i)
}

// get is the readers' side. A key that is there during the whole call is found. The slot shows the key as it is, or, where
// grow has just left it behind, as it was when the call began.
func (t *table) get(h key.Hash) *slot {
	slots := *t.slots.Load()
	for i := t.place(slots, &h); ; i++ {
		if i == len(slots) {
			i = 0
		}
		s := &slots[i]
		switch state := s.state.Load(); {
		case state == 0:
			return nil
		case s.hash == h && state&buried == 0:
			return s
		}
	}
}

// put adds k under hash h, which must not be there yet. state holds taken.
func (t *table) put(h key.Hash, k *Key, state uint32) {
	slots := *t.slots.Load()
	if 5*(t.used+1) > 3*len(slots) {
		t.grow()
		slots = *t.slots.Load()
	}
	s := t.free(slots, &h)
	s.hash, s.key, s.pin, s.expiresAt = h, k, k.pin, k.expiresAt
	k.slot.Store(s)
	s.state.Store(state) // last: who sees it taken, sees it whole
	t.used++
	t.size++
}

// bury takes a key out.
func (t *table) bury(s *slot) {
	s.state.Store(taken | buried)
	s.key.slot.Store(nil)
	t.size--
}

// grow makes room and leaves the buried behind. Readers go on in the old slots until the new ones are complete.
func (t *table) grow() {
	old := *t.slots.Load()
	slots := make([]slot, max(minSlots, 5*(t.size+1)/2))
	for i := range old {
		from := &old[i]
		state := from.state.Load()
		if state == 0 || state&buried != 0 {
			continue
		}
		to := t.free(slots, &from.hash)
		to.hash, to.key, to.pin, to.expiresAt = from.hash, from.key, from.pin, from.expiresAt
		to.lastUsed.Store(from.lastUsed.Load())
		to.state.Store(state)
		to.key.slot.Store(to)
	}
	t.used = t.size
	t.slots.Store(&slots)
}

func (t *table) free(slots []slot, h *key.Hash) *slot {
	i := t.place(slots, h)
	for slots[i].state.Load() != 0 {
		if i++; i == len(slots) {
			i = 0
		}
	}
	return &slots[i]
}

// environment is that of the resource. A key brought by hash may contradict it.
func (s *slot) environment() key.Environment {
	if s.state.Load()&live != 0 {
		return key.Live
	}
	return key.Test
}

// judge judges the key by the one truth there is.
func (s *slot) judge(now time.Time) (lifecycle.State, *Profile) {
	state := s.state.Load()
	life := lifecycle.Key{
		Hashed:    true,
		Deleting:  state&(deleting|buried) != 0,
		Duplicate: state&duplicate != 0,
		ExpiresAt: timeOf(s.expiresAt),
	}
	if s.pin == nil {
		return lifecycle.Of(life, nil, now), nil
	}
	life.Pinned, life.ProfileID = true, s.pin.id
	profile := s.pin.profile.Load()
	if profile == nil {
		return lifecycle.Of(life, nil, now), nil
	}
	return lifecycle.Of(life, &profile.life, now), profile
}

// touch notes that the key was used, once a minute, so that cores do not fight for a busy key's line.
func (s *slot) touch(now time.Time) {
	if minute := uint32(now.Unix() / 60); s.lastUsed.Load() != minute {
		s.lastUsed.Store(minute)
	}
}

func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
