// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"container/heap"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// An organization has no more than so many keys in the index. Which ones those are, lifecycle.Outranks says, and not
// the order in which they came. Those beyond are not held, and so refused like any key that is not known. Nothing of
// their deletion depends on that: Feed names them as soon as it sees it.

// LimitKeys sets how many keys one organization may have here; 0: any number. It is set before the first key is put.
func (x *Index) LimitKeys(most int) { x.most = most }

// Crowded returns how many organizations have keys that were turned away.
func (x *Index) Crowded() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.organizations {
		if t.turnedAway {
			n++
		}
	}
	return n
}

// makeRoom tells whether there is room for a key of an organization. If it is full, the last of its keys makes room for
// one that outranks it, and ceases to be served. mu must be held.
func (x *Index) makeRoom(organization caller.Organization, life lifecycle.Key) (room, unserved bool) {
	t := x.organizations[organization]
	if x.most == 0 || t == nil || len(t.keys) < x.most {
		return true, false
	}
	t.turnedAway = true
	if last := t.last(); last != nil && lifecycle.Outranks(life, last.rank()) {
		x.dropKey(last.slot.Load())
		return true, true
	}
	return false, false
}

// roomMade is called when a key has gone. If others were turned away for it, they are asked for, by onRoom. mu must be
// held, and so onRoom only says that there is something to do.
func (x *Index) roomMade(t *tenant) {
	if t.turnedAway && len(t.keys) < x.most {
		t.turnedAway = false
		x.onRoom()
	}
}

// stray makes of an ApiKey that is not held what OnWithdraw needs of it: nil, if it is not to be withdrawn. It may have
// queued posts, here before it was turned away, or at a replica that has heard of the others later.
func stray(o *v1alpha1.ApiKey, organization caller.Organization, flags uint32) *Key {
	if flags&withdrawn == 0 {
		return nil
	}
	return withdrawableKey(o, organization)
}

// withdrawableKey makes of an ApiKey what OnWithdraw needs of it.
func withdrawableKey(o *v1alpha1.ApiKey, organization caller.Organization) *Key {
	isLive := o.Spec.Environment == v1alpha1.EnvironmentLive
	k := &Key{live: isLive, Organization: &organization}
	k.setNames(o.Name, o.UID)
	return k
}

// rank is what Outranks asks of a key.
func (k *Key) rank() lifecycle.Key {
	return lifecycle.Key{ID: k.ID(), CreatedAt: k.CreatedAt(), MintedAt: k.minted()}
}

// last returns the key that is served after all others. Only organizations that are full keep an order of their keys.
// Keys that are gone stay in it until they come first. Index.mu must be held, as below.
func (t *tenant) last() *Key {
	if t.ranks == nil {
		t.ranks = make(ranks, 0, len(t.keys))
		for k := range t.keys {
			t.ranks = append(t.ranks, k)
		}
		heap.Init(&t.ranks)
	}
	for len(t.ranks) > 0 {
		if k := t.ranks[0]; k.slot.Load() != nil {
			return k
		}
		heap.Pop(&t.ranks) // it is gone
	}
	return nil
}

// ranked notes a key that was added.
func (t *tenant) ranked(k *Key) {
	switch {
	case t.ranks == nil:
	case len(t.ranks) > 2*len(t.keys)+minSlots: // mostly keys that are gone
		t.ranks = nil
	default:
		heap.Push(&t.ranks, k)
	}
}

// ranks is a heap of keys, the last one first.
type ranks []*Key

func (r ranks) Len() int           { return len(r) }
func (r ranks) Less(i, j int) bool { return lifecycle.Outranks(r[j].rank(), r[i].rank()) }
func (r ranks) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranks) Push(k any)        { *r = append(*r, k.(*Key)) }

func (r *ranks) Pop() any {
	end := len(*r) - 1
	k := (*r)[end]
	(*r)[end] = nil
	*r = (*r)[:end]
	return k
}
