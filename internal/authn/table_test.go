// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

func numbered(kind string, n int) key.Digest { return sha256.Sum256([]byte(fmt.Sprint(kind, n))) }

// acme is whose all keys are here, unless a test says otherwise.
var acme = &caller.Organization{ID: "0ac3e000-0000-4000-8000-000000000000", Name: "acme"}

// hashOf is what is published of a key of acme's.
func hashOf(d key.Digest) key.Hash { return d.BoundTo(key.OwnerID(acme.ID)) }

func keyOfAcme() *Key { return &Key{Organization: acme} }

func (t *table) getAt(kind string, n int) *slot {
	return t.get(numbered(kind, n))
}

// TestTableAgainstAMap plays random operations on a table and on a Go map. Few hashes and many operations: every slot
// is filled, emptied and left behind many times.
func TestTableAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		digests := make([]key.Digest, 20+random.IntN(400))
		for i := range digests {
			digests[i] = numbered("hash", i)
		}
		table, model := newTable(), map[key.Digest]*Key{}
		most := 0
		for step := range 5000 {
			d := digests[random.IntN(len(digests))]
			s := table.get(d)
			if got, want := keyIn(s), model[d]; got != want {
				t.Fatalf("seed %d, step %d: get = %p, want %p", seed, step, got, want)
			}
			if s != nil && random.IntN(2) == 0 { // replace: remove, then put
				table.remove(s)
				delete(model, d)
			}
			if model[d] == nil && random.IntN(3) > 0 {
				model[d] = &Key{Organization: acme, expiresAt: int64(step), pin: &pin{}}
				table.put(hashOf(d), model[d], taken|live)
			} else if s := table.get(d); s != nil && random.IntN(3) == 0 {
				table.remove(s)
				delete(model, d)
			}
			most = max(most, len(model))
			if step%100 == 0 || step > 4990 {
				checkTable(t, table, model, digests, fmt.Sprintf("seed %d, step %d", seed, step))
			}
		}
		if n, bound := len(table.array.Load().slots), max(minSlots, 8*most); n > bound {
			t.Errorf("seed %d: %d slots for at most %d keys: the tombstones were not left behind", seed, n, most)
		}
	}
}

func keyIn(s *slot) *Key {
	if s == nil {
		return nil
	}
	return s.key
}

func checkTable(t *testing.T, table *table, model map[key.Digest]*Key, digests []key.Digest, when string) {
	t.Helper()
	for _, d := range digests {
		s, want := table.get(d), model[d]
		if got := keyIn(s); got != want {
			t.Fatalf("%s: get = %p, want %p", when, got, want)
		}
		if s != nil && (s.hash != hashOf(d) || s.organization != want.Organization || s.expiresAt != want.expiresAt || want.slot.Load() != s || s.state.Load() != taken|live) {
			t.Fatalf("%s: slot %+v is not its key's", when, s)
		}
	}
	slots := table.array.Load().slots
	var used, size int
	for i := range slots {
		state := slots[i].state.Load()
		if state != 0 {
			used++
		}
		if state != 0 && state&tombstone == 0 {
			size++
		}
	}
	if size != len(model) || table.size != size || table.used != used || used >= len(slots) {
		t.Fatalf("%s: %d keys (counted %d, want %d) and %d slots used of %d (counted %d)",
			when, size, table.size, len(model), used, len(slots), table.used)
	}
}

// TestSlotIsOneLine: a lookup's cost is the lines that it fetches from memory.
func TestSlotIsOneLine(t *testing.T) {
	if size := unsafe.Sizeof(slot{}); size != 64 {
		t.Errorf("a slot is %d bytes, want 64: a cache line", size)
	}
	table := newTable()
	for i := range 1000 {
		table.put(hashOf(numbered("hash", i)), keyOfAcme(), taken)
	}
	slots := table.array.Load().slots
	if at := uintptr(unsafe.Pointer(&slots[0])); at%64 != 0 {
		t.Errorf("slots begin %d bytes into a cache line: each lies in two", at%64)
	}
}

// TestTableChurnLeaksNoSlots lets a small table live long.
func TestTableChurnLeaksNoSlots(t *testing.T) {
	const steady, rounds = 100, 50_000
	table := newTable()
	for i := range rounds {
		table.put(hashOf(numbered("churn", i)), keyOfAcme(), taken)
		if i >= steady {
			table.remove(table.getAt("churn", i-steady))
		}
	}
	if n := len(table.array.Load().slots); n > 8*steady {
		t.Errorf("%d slots after %d puts and removals, with %d keys at a time", n, rounds, steady)
	}
	if table.size != steady {
		t.Errorf("%d keys, want %d", table.size, steady)
	}
	for i := rounds - 2*steady; i < rounds; i++ {
		if got := table.getAt("churn", i); (got != nil) != (i >= rounds-steady) {
			t.Errorf("key %d of %d: found is %t", i, rounds, got != nil)
		}
	}
}

// TestTableAfterAFlood: a table that was large for a while gives its memory back. A tombstone still holds its key.
func TestTableAfterAFlood(t *testing.T) {
	const flood, rest = 10_000, 10
	table := newTable()
	for i := range flood {
		table.put(hashOf(numbered("flood", i)), keyOfAcme(), taken)
	}
	for i := range flood - rest {
		table.remove(table.getAt("flood", i))
	}
	if n := len(table.array.Load().slots); n > flood/4 {
		t.Errorf("%d slots, most of them tombstones, for %d keys", n, rest)
	}
}

// TestTableChosenHashesDoNotCluster plays a tenant who brings keys by hash, all alike but for a few bits. The table's
// seed is drawn anew in each run; the bounds leave chance no room (linear probing at a load of 0.75: at most 2.5
// marks a lookup, and the longest of 10,000 about 150).
func TestTableChosenHashesDoNotCluster(t *testing.T) {
	const keys = 10_000
	for _, tc := range []struct {
		reason string
		digest func(n uint64) (d key.Digest)
	}{
		{"equal first bytes", func(n uint64) (d key.Digest) { binary.BigEndian.PutUint64(d[8:], n); return d }},
		{"equal last bytes", func(n uint64) (d key.Digest) { binary.BigEndian.PutUint64(d[:], n); return d }},
		{"equal low bits of every word", func(n uint64) (d key.Digest) {
			for i := range 4 {
				binary.LittleEndian.PutUint64(d[8*i:], n<<40)
			}
			return d
		}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			table := newTable()
			for n := range uint64(keys) {
				table.put(hashOf(tc.digest(n)), keyOfAcme(), taken)
			}
			slots := table.array.Load().slots
			var total, longest int
			for i := range slots {
				if slots[i].state.Load() == 0 {
					continue
				}
				place, _ := table.place(len(slots), &slots[i].hash.Lookup)
				probes := i - place + 1
				if probes < 1 {
					probes += len(slots)
				}
				total += probes
				longest = max(longest, probes)
			}
			if mean := float64(total) / keys; mean > 3 || longest > 600 {
				t.Errorf("a lookup takes %.2f marks, the longest %d; want at most 3 and 600", mean, longest)
			}
		})
	}
}

// TestTableReadersBesideAWriter holds readers to what they are promised while a writer fills, marks, buries and grows:
// what is there throughout is found, and never as it was before it was last seen; what never was is not found.
func TestTableReadersBesideAWriter(t *testing.T) {
	const readers, stable, steps = 3, 64, 30_000
	table := newTable()
	for i := range stable {
		table.put(hashOf(numbered("stable", i)), &Key{Organization: acme, expiresAt: int64(i)}, taken)
	}
	var done atomic.Bool
	var finished sync.WaitGroup
	for r := range readers {
		finished.Go(func() {
			random := rand.New(rand.NewPCG(uint64(r), 1))
			seen := make([]uint32, stable)
			for rounds := 0; !done.Load() || rounds < 1000; rounds++ {
				i := random.IntN(stable)
				d := numbered("stable", i)
				s := table.get(d)
				if s == nil {
					t.Error("a key that is there throughout was not found")
					return
				}
				if s.hash != hashOf(d) || s.key.expiresAt != int64(i) || s.expiresAt != int64(i) {
					t.Error("a lookup found another key's slot, or half a slot")
					return
				}
				version := s.state.Load() >> versionShift
				if version < seen[i] {
					t.Errorf("version %d was found after version %d", version, seen[i])
					return
				}
				seen[i] = version
				if table.getAt("absent", i) != nil {
					t.Error("a hash that was never there was found")
					return
				}
				d = numbered("churn", random.IntN(steps))
				if s := table.get(d); s != nil && (s.hash != hashOf(d) || s.key == nil) {
					t.Error("a lookup found another key's slot, or half a slot")
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(99, 1))
	var churn []key.Digest
	for step := range steps {
		switch i := random.IntN(stable); {
		case step%5 == 0: // mark, as a deletion does, with a version that only rises
			table.getAt("stable", i).state.Store(taken | uint32(step)<<versionShift)
		case random.IntN(2) == 0 || len(churn) == 0:
			d := numbered("churn", step)
			table.put(hashOf(d), keyOfAcme(), taken)
			churn = append(churn, d)
		default:
			j := random.IntN(len(churn))
			table.remove(table.get(churn[j]))
			churn[j] = churn[len(churn)-1]
			churn = churn[:len(churn)-1]
		}
	}
	done.Store(true)
	finished.Wait()
}

// versionShift is beyond the bits of a slot's state.
const versionShift = 8

// TestActiveIsWhatLifecycleSays: a request goes by the bits of a slot (active), and who explains goes by lifecycle
// (standing). Every state that a slot can have, of a key with every kind of Profile, on either side of its expiry.
func TestActiveIsWhatLifecycleSays(t *testing.T) {
	const expiresAt = 1_800_000_000
	times := []time.Time{
		{}, time.Unix(expiresAt-1, 0), time.Unix(expiresAt, -1), time.Unix(expiresAt, 0), time.Unix(expiresAt, 1),
	}
	profiles := []*Profile{
		nil, {life: lifecycle.Profile{ID: "profile"}}, {life: lifecycle.Profile{ID: "profile", Deleting: true}},
	}
	for state := range marked << 1 {
		for _, profile := range profiles {
			s := &slot{key: &Key{Organization: acme, pin: &pin{id: "profile"}}}
			s.key.pin.profile.Store(profile)
			s.state.Store(state)
			for _, s.expiresAt = range []int64{0, expiresAt} {
				for _, now := range times {
					said, of := s.standing(now)
					got, served := s.active(now)
					if served != said.Served() || served && got != of {
						t.Errorf("state %b, %v at %v of %d: %t, %v; lifecycle says %+v, %v",
							state, profile, now, s.expiresAt, served, got, said, of)
					}
				}
			}
		}
	}
}
