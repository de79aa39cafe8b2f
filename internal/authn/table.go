// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// table finds a key by its digest. Any number of readers go without a lock beside one writer.
//
// With many keys, fetching from memory is most of what a lookup costs. So it is open addressing with linear probing,
// and all that a request's authentication needs stands in the slot itself, one cache line; an array of marks, small
// enough to stay in a cache, tells which slot that is. A lookup among a million keys fetches one line from memory, and
// one of an unknown key none, where a Go map and an entry behind it fetch three or four. Place and mark come from a
// seeded hash of the key's lookup, because tenants may bring hashes of their choice and must not be able to make them
// collide. The array is up to three quarters full: a search then looks at two or three marks, or eight if it finds
// nothing, in one cache line.
//
// Several organizations may have keys with one lookup: whoever sees another's may bring it. The binding tells whose the
// key is, and there is one of them an organization at most, so that nobody can put many in another's way.
type table struct {
	seed  maphash.Seed
	array atomic.Pointer[array]

	// The writer's own; Index.mu guards them.
	used int // slots that are not free
	size int // keys
}

// array is the slots and, at the same places, their marks: 0 is free. Readers take it as a whole, so that marks and
// slots that they see belong together.
type array struct {
	marks []atomic.Uint32
	slots []slot
}

// newArray returns n free slots. Huge pages, because a lookup at a random place otherwise misses the cache of addresses
// as well as that of memory.
func newArray(n int) *array {
	a := &array{marks: make([]atomic.Uint32, n), slots: make([]slot, n)}
	preferHugePages(a.marks)
	preferHugePages(a.slots)
	return a
}

// slot is 64 bytes, a cache line. All but the atomics is written before its mark, and never again: readers take no
// lock, so a slot whose key is gone is never given to another key. It stays as a tombstone until rebuild leaves it
// behind.
type slot struct {
	hash         key.Hash
	key          *Key
	organization *caller.Organization // key's, of which the hash is proven
	expiresAt    int64                // Unix seconds; 0: never
	state        atomic.Uint32
	lastUsed     atomic.Uint32 // Unix minutes; 0: not since this process started
}

// state of a slot: 0 is free.
const (
	taken     uint32 = 1 << iota
	tombstone        // the key is gone
	deleting         // the key is being deleted
	duplicate        // another key of its organization has the hash by right
	live             // its environment is key.Live, whatever a key brought by hash says in plaintext
	withdrawn        // it is being deleted together with what it has queued
	brought          // its hash was brought, and binds it to the namespace's name
	pinned           // to a Profile
	leaked           // somebody has reported it, here or elsewhere
	marked           // its ApiKey says that it has leaked
)

// minSlots keeps a small table from being rebuilt at every change.
const minSlots = 64

// newTable returns an empty table with a seed of its own, which nobody outside can learn.
func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	t.array.Store(newArray(minSlots))
	return t
}

// place is where the search for l begins, among n slots, and the mark to look for, which is never 0. It scales by the
// upper bits, so that n need not be a power of two, and marks by the lower ones: keys in one place have other marks.
func (t *table) place(n int, l *key.Lookup) (int, uint32) {
	seeded := maphash.Bytes(t.seed, l[:])
	i, _ := bits.Mul64(seeded, uint64(n))
	return int(i), uint32(seeded) | 1
}

// get is the readers' side: the key with this digest. One that is there during the whole call is found. The slot shows
// the key as it is, or, where rebuild has just left it behind, as it was when the call began.
func (t *table) get(d key.Digest) *slot {
	return t.find(d.Lookup(), func(s *slot) bool { return d.Proves(&s.hash.Binding, s.owner()) })
}

// find returns the first key with this lookup that is the right one.
func (t *table) find(l key.Lookup, right func(*slot) bool) *slot {
	a := t.array.Load()
	i, mark := t.place(len(a.marks), &l)
	for ; ; i++ {
		if i == len(a.marks) {
			i = 0
		}
		switch a.marks[i].Load() {
		case 0:
			return nil
		case mark:
			if s := &a.slots[i]; s.hash.Lookup == l && s.state.Load()&tombstone == 0 && right(s) {
				return s
			}
		}
	}
}

// all calls do with every key that has this lookup, and that d binds to its owner. There is one an organization at
// most. Index.mu must be held.
func (t *table) all(d key.Digest, do func(*slot)) {
	t.find(d.Lookup(), func(s *slot) bool {
		if d.Proves(&s.hash.Binding, s.owner()) {
			do(s)
		}
		return false // go on
	})
}

// put adds k under hash h. No key of its organization with that lookup may be there yet. state holds taken. Tombstones
// count as used: with too many of them, a search for what is not there would not end soon.
func (t *table) put(h key.Hash, k *Key, state uint32) {
	if 4*(t.used+1) > 3*len(t.array.Load().slots) {
		t.rebuild(2 * (t.size + 1)) // half full, so that the next time is far off
	}
	s, mark := t.freeSlot(t.array.Load(), &h.Lookup)
	s.hash, s.key, s.organization, s.expiresAt = h, k, k.Organization, k.expiresAt
	s.state.Store(state)
	k.slot.Store(s)
	mark() // last: who sees the mark, sees the slot whole
	t.used++
	t.size++
}

// remove takes a key out. Its slot stays taken until rebuild: a free one would end the search for keys that stand
// behind it.
func (t *table) remove(s *slot) {
	s.state.Or(tombstone)
	s.key.slot.Store(nil)
	t.size--
	if n := len(t.array.Load().slots); n > minSlots && 8*t.size < n {
		t.rebuild(2 * (t.size + 1))
	}
}

// reserve makes room for n keys in all, which a list is about to bring: two thirds full, and at once. Otherwise the
// table would grow a dozen times meanwhile, and be half empty in the end if it has just grown.
func (t *table) reserve(n int) {
	if 4*n > 3*len(t.array.Load().slots) {
		t.rebuild(n + n/2)
	}
}

// rebuild moves to so many slots, and leaves the tombstones behind. Readers go on in the old slots until the new ones
// are complete.
func (t *table) rebuild(slots int) {
	// Index.mu is held all the time, so nothing is put, removed or flagged meanwhile; only lastUsed may miss a minute.
	to := newArray(max(minSlots, slots))
	old := t.array.Load().slots
	for i := range old {
		from := &old[i]
		state := from.state.Load()
		if state == 0 || state&tombstone != 0 {
			continue
		}
		s, mark := t.freeSlot(to, &from.hash.Lookup)
		s.hash, s.key, s.organization, s.expiresAt = from.hash, from.key, from.organization, from.expiresAt
		s.lastUsed.Store(from.lastUsed.Load())
		s.state.Store(state)
		s.key.slot.Store(s)
		mark()
	}
	t.used = t.size // no tombstones are left
	t.array.Store(to)
}

// freeSlot returns the slot that a key is to have, and what marks it as taken for readers.
func (t *table) freeSlot(a *array, l *key.Lookup) (*slot, func()) {
	i, mark := t.place(len(a.marks), l)
	for a.marks[i].Load() != 0 {
		if i++; i == len(a.marks) {
			i = 0
		}
	}
	return &a.slots[i], func() { a.marks[i].Store(mark) }
}

// owner is whom the key's hash binds it to.
func (s *slot) owner() key.Owner {
	if s.state.Load()&brought != 0 {
		return key.OwnerNamespace(s.organization.Name)
	}
	return key.OwnerID(s.organization.ID)
}

// seniority is what decides between two keys with one lookup: lifecycle.Precedes reads no more of them.
func (s *slot) seniority() lifecycle.Key {
	k := s.key
	return lifecycle.Key{
		Hashed: true, Duplicate: s.state.Load()&duplicate != 0,
		ID: k.ID(), CreatedAt: k.CreatedAt(), MintedAt: k.minted(),
	}
}

// active tells whether the key is served at now, and its Profile, nil if it has none. It says what standing says, by a
// look at the bits: a request asks three times, and all that lifecycle may answer would take it 25 ns each time. A test
// compares the two.
func (s *slot) active(now time.Time) (*Profile, bool) {
	state := s.state.Load()
	const ended = tombstone | deleting | duplicate | leaked | marked
	if state&ended != 0 || s.expiresAt != 0 && now.Unix() >= s.expiresAt {
		return nil, false
	}
	if state&pinned == 0 {
		return nil, true
	}
	profile := s.key.pin.profile.Load()
	return profile, profile != nil && !profile.life.Deleting
}

// standing tells how the key stands at now, as lifecycle decides it, and its Profile; nil if it has none, or none that
// is there.
func (s *slot) standing(now time.Time) (lifecycle.State, *Profile) {
	state := s.state.Load()
	life := lifecycle.Key{
		Hashed:    true,
		Deleting:  state&(deleting|tombstone) != 0,
		Duplicate: state&duplicate != 0,
		Leaked:    state&(leaked|marked) != 0,
		ExpiresAt: fromUnixSeconds(s.expiresAt),
	}
	if state&pinned == 0 {
		return lifecycle.Of(life, nil, now), nil
	}
	pin := s.key.pin
	life.Pinned, life.ProfileID = true, pin.id
	profile := pin.profile.Load()
	if profile == nil {
		return lifecycle.Of(life, nil, now), nil
	}
	return lifecycle.Of(life, &profile.life, now), profile
}
