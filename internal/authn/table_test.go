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
	"unsafe"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func numbered(kind string, n int) key.Hash { return sha256.Sum256([]byte(fmt.Sprint(kind, n))) }

// TestTableAgainstAMap plays random operations on a table and on a Go map. Few hashes and many operations: every slot
// is filled, emptied and left behind many times.
func TestTableAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		hashes := make([]key.Hash, 20+random.IntN(400))
		for i := range hashes {
			hashes[i] = numbered("hash", i)
		}
		table, model := newTable(), map[key.Hash]*Key{}
		most := 0
		for step := range 5000 {
			h := hashes[random.IntN(len(hashes))]
			s := table.get(h)
			if got, want := keyIn(s), model[h]; got != want {
				t.Fatalf("seed %d, step %d: get = %p, want %p", seed, step, got, want)
			}
			if s != nil && random.IntN(2) == 0 { // replace: remove, then put
				table.remove(s)
				delete(model, h)
			}
			if model[h] == nil && random.IntN(3) > 0 {
				model[h] = &Key{expiresAt: int64(step), pin: &pin{}}
				table.put(h, model[h], taken|live)
			} else if s := table.get(h); s != nil && random.IntN(3) == 0 {
				table.remove(s)
				delete(model, h)
			}
			most = max(most, len(model))
			if step%100 == 0 || step > 4990 {
				checkTable(t, table, model, hashes, fmt.Sprintf("seed %d, step %d", seed, step))
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

func checkTable(t *testing.T, table *table, model map[key.Hash]*Key, hashes []key.Hash, when string) {
	t.Helper()
	for _, h := range hashes {
		s, want := table.get(h), model[h]
		if got := keyIn(s); got != want {
			t.Fatalf("%s: get = %p, want %p", when, got, want)
		}
		if s != nil && (s.hash != h || s.pin != want.pin || s.expiresAt != want.expiresAt || want.slot.Load() != s || s.state.Load() != taken|live) {
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
		table.put(numbered("hash", i), &Key{}, taken)
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
		table.put(numbered("churn", i), &Key{}, taken)
		if i >= steady {
			table.remove(table.get(numbered("churn", i-steady)))
		}
	}
	if n := len(table.array.Load().slots); n > 8*steady {
		t.Errorf("%d slots after %d puts and removals, with %d keys at a time", n, rounds, steady)
	}
	if table.size != steady {
		t.Errorf("%d keys, want %d", table.size, steady)
	}
	for i := rounds - 2*steady; i < rounds; i++ {
		if got := table.get(numbered("churn", i)); (got != nil) != (i >= rounds-steady) {
			t.Errorf("key %d of %d: found is %t", i, rounds, got != nil)
		}
	}
}

// TestTableAfterAFlood: a table that was large for a while gives its memory back. A tombstone still holds its key.
func TestTableAfterAFlood(t *testing.T) {
	const flood, rest = 10_000, 10
	table := newTable()
	for i := range flood {
		table.put(numbered("flood", i), &Key{}, taken)
	}
	for i := range flood - rest {
		table.remove(table.get(numbered("flood", i)))
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
		hash   func(n uint64) (h key.Hash)
	}{
		{"equal first bytes", func(n uint64) (h key.Hash) { binary.BigEndian.PutUint64(h[24:], n); return h }},
		{"equal last bytes", func(n uint64) (h key.Hash) { binary.BigEndian.PutUint64(h[:], n); return h }},
		{"equal low bits of every word", func(n uint64) (h key.Hash) {
			for i := range 4 {
				binary.LittleEndian.PutUint64(h[8*i:], n<<40)
			}
			return h
		}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			table := newTable()
			for n := range uint64(keys) {
				table.put(tc.hash(n), &Key{}, taken)
			}
			slots := table.array.Load().slots
			var total, longest int
			for i := range slots {
				if slots[i].state.Load() == 0 {
					continue
				}
				place, _ := table.place(len(slots), &slots[i].hash)
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
		table.put(numbered("stable", i), &Key{expiresAt: int64(i)}, taken)
	}
	var done atomic.Bool
	var finished sync.WaitGroup
	for r := range readers {
		finished.Go(func() {
			random := rand.New(rand.NewPCG(uint64(r), 1))
			seen := make([]uint32, stable)
			for rounds := 0; !done.Load() || rounds < 1000; rounds++ {
				i := random.IntN(stable)
				h := numbered("stable", i)
				s := table.get(h)
				if s == nil {
					t.Error("a key that is there throughout was not found")
					return
				}
				if s.hash != h || s.key.expiresAt != int64(i) || s.expiresAt != int64(i) {
					t.Error("a lookup found another key's slot, or half a slot")
					return
				}
				version := s.state.Load() >> versionShift
				if version < seen[i] {
					t.Errorf("version %d was found after version %d", version, seen[i])
					return
				}
				seen[i] = version
				if table.get(numbered("absent", i)) != nil {
					t.Error("a hash that was never there was found")
					return
				}
				h = numbered("churn", random.IntN(steps))
				if s := table.get(h); s != nil && (s.hash != h || s.key == nil) {
					t.Error("a lookup found another key's slot, or half a slot")
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(99, 1))
	var churn []key.Hash
	for step := range steps {
		switch i := random.IntN(stable); {
		case step%5 == 0: // mark, as a deletion does, with a version that only rises
			table.get(numbered("stable", i)).state.Store(taken | uint32(step)<<versionShift)
		case random.IntN(2) == 0 || len(churn) == 0:
			h := numbered("churn", step)
			table.put(h, &Key{}, taken)
			churn = append(churn, h)
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
