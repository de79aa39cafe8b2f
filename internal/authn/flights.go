// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/types"
)

// flights is the registry of all flights. It is what a revocation walks to cut those of its key: flights are too many
// and too short to be kept by key, revocations are few.
type flights struct {
	shards [64]shard

	commitsMu sync.Mutex
	commits   map[types.UID]int    // writes past their commit point, by the key's id; no zeros
	waiting   map[types.UID]func() // what is done when the last of them is over; see afterCommits
}

// shard is a list of flights, in a cache line of its own, so that cores do not fight for it.
type shard struct {
	mu    sync.Mutex
	first *Flight
	_     [64 - unsafe.Sizeof(sync.Mutex{}) - unsafe.Sizeof(uintptr(0))]byte
}

// shardOf spreads flights by where they lie in memory, which costs nothing that cores would have to share.
func (fs *flights) shardOf(f *Flight) *shard {
	const golden = 0x9e3779b97f4a7c15     // Fibonacci hashing: the upper bits depend on all bits of the address
	address := uintptr(unsafe.Pointer(f)) //nolint:gosec // G103: the address is a number here, and no more
	return &fs.shards[uint64(address)*golden>>58]
}

// add puts f first. The list is linked through the flights themselves, so that it costs no allocation.
func (s *shard) add(f *Flight) {
	s.mu.Lock()
	if f.next = s.first; f.next != nil {
		f.next.previous = f
	}
	s.first = f
	s.mu.Unlock()
}

// remove takes f off the list; s.mu must be held.
func (s *shard) remove(f *Flight) {
	if f.previous != nil {
		f.previous.next = f.next
	} else {
		s.first = f.next
	}
	if f.next != nil {
		f.next.previous = f.previous
	}
	f.previous, f.next = nil, nil
}

// cut cuts the flights for which why has an error. why is called with a shard locked.
func (fs *flights) cut(why func(*Flight) error) {
	for i := range fs.shards {
		s := &fs.shards[i]
		s.mu.Lock()
		for f := s.first; f != nil; f = f.next {
			f.cutIf(why(f))
		}
		s.mu.Unlock()
	}
}

// CutAll cuts every flight, for the reason err: ErrUnavailable. Serving must be false already, and must not be true
// again before CutAll has returned: else a flight could be admitted behind the walk and be missed by it.
func (x *Index) CutAll(err error) {
	x.flights.cut(func(*Flight) error { return err })
}

// cutUnserved cuts the flights of keys that are no longer served, after the index has been changed. Expiry is left to
// the flights themselves, which have a clock.
func (x *Index) cutUnserved() {
	revoked, running := x.takeRevoked()
	x.flights.cut(func(f *Flight) error {
		if f.key == nil {
			return nil // a session is looked at when its flight is, and no watch tells of it
		}
		if _, counts := running[f.key]; counts && f.cut == nil {
			running[f.key]++
		}
		return f.key.refusal(time.Time{})
	})
	for _, k := range revoked {
		x.onRevoked(k, running[k])
	}
}
