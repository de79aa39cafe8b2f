// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync/atomic"
	"time"
)

// tally counts what a key is used for, until somebody takes the count. Counting is one addition on a line that the
// key's own rate has in hand anyway, and allocates nothing.
type tally struct {
	requests atomic.Uint64
	refused  atomic.Uint32 // what is not taken for a day, of nothing but refusals, may be more: memory counts more here
	listed   atomic.Bool   // it stands in Index.used, or was taken from there and its count was not
	next     *Key          // in Index.used; whoever lists the key writes it
	takenAt  int64         // Unix nanoseconds; only who takes counts has it; 0: never, or it was put back
}

// Use is what a key was used for since that was taken last.
type Use struct {
	Key        *Key
	LastUsedAt time.Time // to the minute; zero: the key is gone
	Requests   uint64    // that came with the key and were recognised by it
	Refused    uint64    // of Requests: those that lacked a scope, or came when the key's rate was used up
}

// CountUse has what keys are used for counted from here on. It is called before the first request, by whoever takes the
// counts: what nobody takes would keep keys in memory that are gone.
func (x *Index) CountUse() { x.countsUse = true }

// noteUse counts a request that was recognised by its key. The minute is written once, so that cores do not fight for
// the slot of a busy key. Two of them may both store it, with the same value.
func (x *Index) noteUse(s *slot, now time.Time) {
	if minute := uint32(now.Unix() / 60); s.lastUsed.Load() != minute {
		s.lastUsed.Store(minute)
	}
	if !x.countsUse {
		return
	}
	s.key.tally.requests.Add(1)
	x.list(s.key)
}

// list puts a key on the list of those that were used, once until its count is taken. A stack, which is taken as a
// whole: no key on it is ever looked at by two.
func (x *Index) list(k *Key) {
	if k.tally.listed.Load() || !k.tally.listed.CompareAndSwap(false, true) {
		return
	}
	for {
		k.tally.next = x.used.Load()
		if x.used.CompareAndSwap(k.tally.next, k) {
			return
		}
	}
}

// TakeUsed takes the keys off the index that were used, in no order. A key does not come again before its count was
// taken by TakeUse: whoever waits with that has all that is counted meanwhile as one.
func (x *Index) TakeUsed() (keys []*Key) {
	for k := x.used.Swap(nil); k != nil; {
		next := k.tally.next
		k.tally.next = nil // so that a key that is gone keeps no other one alive
		keys = append(keys, k)
		k = next
	}
	return keys
}

// UseTakenAt returns when the count of a key was taken last; zero: never, or it was put back. It is for the goroutine
// that takes counts, as all below is.
func (k *Key) UseTakenAt() time.Time {
	if k.tally.takenAt == 0 {
		return time.Time{}
	}
	return time.Unix(0, k.tally.takenAt)
}

// TakeUse takes the count of a key that TakeUsed has returned, at now. Use.LastUsedAt is zero if the key is gone since.
func (k *Key) TakeUse(now time.Time) Use {
	k.tally.takenAt = now.UnixNano()
	// In this order: what is counted in between is either taken here, or lists the key again.
	k.tally.listed.Store(false)
	return Use{
		Key: k, LastUsedAt: k.LastUsedAt(), Requests: k.tally.requests.Swap(0), Refused: uint64(k.tally.refused.Swap(0)),
	}
}

// ReturnUse puts back a count that was taken and could not be kept: it is part of the next one.
func (x *Index) ReturnUse(u Use) {
	u.Key.tally.takenAt = 0
	u.Key.tally.requests.Add(u.Requests)
	u.Key.tally.refused.Add(uint32(u.Refused)) // it was taken from there
	x.list(u.Key)
}

// Use returns what is counted of the key and was not taken yet. Anybody may ask.
func (k *Key) Use() Use {
	return Use{
		Key: k, LastUsedAt: k.LastUsedAt(),
		Requests: k.tally.requests.Load(), Refused: uint64(k.tally.refused.Load()),
	}
}

// CountRefused counts a request that was recognised by its key, and refused all the same. Of a person it counts
// nothing.
func (f *Flight) CountRefused() {
	if f.identity.Key != nil {
		f.identity.Key.tally.refused.Add(1)
	}
}
