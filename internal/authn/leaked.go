// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// A key that has leaked is known by its whole digest, and not by its lookup: whoever sees that of somebody else's key
// may bring it with a second half of their own, and a report of that must not end the other's key.

// ended is what a slot's state says of a key that nobody brings back to life, or not before a leak is forgiven.
const ended = deleting | leaked | marked

// leaks are the keys that have leaked, whether there is an ApiKey of them or not. Index.mu guards them. There are few,
// so they are found by their lookup alone: two with one lookup take somebody who brings another's.
type leaks struct {
	known  map[key.Lookup][]leak
	listed map[types.UID]key.Digest // by the LeakedKey that says so
}

// leak is one of them. It is forgotten when neither says so any more.
type leak struct {
	digest   key.Digest
	reported bool      // here, and no LeakedKey has been seen of it yet
	listedBy types.UID // the LeakedKey that says so; "": none
}

// has tells whether the key that this hash binds to an owner has leaked.
func (l *leaks) has(h key.Hash, owner key.Owner) bool {
	return slices.ContainsFunc(l.known[h.Lookup], func(k leak) bool { return k.digest.Proves(&h.Binding, owner) })
}

// of returns what is known of a digest; nil: nothing.
func (l *leaks) of(d key.Digest) *leak {
	known := l.known[d.Lookup()]
	if i := slices.IndexFunc(known, func(k leak) bool { return k.digest == d }); i >= 0 {
		return &known[i]
	}
	return nil
}

// put returns what is known of a digest, and makes it known.
func (l *leaks) put(d key.Digest) *leak {
	if k := l.of(d); k != nil {
		return k
	}
	l.known[d.Lookup()] = append(l.known[d.Lookup()], leak{digest: d})
	return l.of(d)
}

// drop forgets a digest, unless somebody still says that it has leaked. It tells whether it did.
func (l *leaks) drop(d key.Digest) bool {
	if k := l.of(d); k == nil || k.reported || k.listedBy != "" {
		return false
	}
	left := slices.DeleteFunc(l.known[d.Lookup()], func(k leak) bool { return k.digest == d })
	if len(left) == 0 {
		delete(l.known, d.Lookup())
	} else {
		l.known[d.Lookup()] = left
	}
	return true
}

// ReportLeak refuses the key with this digest from now on, and cuts its requests before it returns. It tells whether
// there is such a key here, of whichever environment; of any other, nothing is kept.
func (x *Index) ReportLeak(d key.Digest) (known bool) {
	x.mu.Lock()
	x.keys.all(d, func(*slot) { known = true })
	unserved := false
	if known {
		x.leaks.put(d).reported = true
		unserved = x.endLeaked(d)
	}
	x.mu.Unlock()
	if unserved {
		x.cutUnserved()
	}
	return known
}

// ForgetReport takes a report back, of which nobody else has heard, if its key is gone. It tells whether it is. A key
// that is here is refused for as long as this process lives, or until a LeakedKey of it is forgiven.
func (x *Index) ForgetReport(d key.Digest) (gone bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	gone = true
	x.keys.all(d, func(*slot) { gone = false })
	if k := x.leaks.of(d); gone && k != nil {
		k.reported = false
		x.forgive(d)
	}
	return gone
}

// OnLeak sets what is called, without a lock held, when a LeakedKey has been taken in. It is set before the first one.
func (x *Index) OnLeak(listed func()) { x.onLeak = listed }

// LeakOf tells whether a key is reported here and no LeakedKey of it has been seen since, and which namespaces have it.
func (x *Index) LeakOf(d key.Digest) (reported bool, namespaces []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keys.all(d, func(s *slot) { namespaces = append(namespaces, s.organization.Name) })
	k := x.leaks.of(d)
	return k != nil && k.reported, namespaces
}

// PutLeak takes a LeakedKey in: its key is refused from now on, whatever ApiKey brings it.
//
// Model: step Settle.
func (x *Index) PutLeak(o *v1alpha1.LeakedKey) {
	d, err := key.ParseHex(o.Name)
	if err != nil {
		return // the schema admits none
	}
	x.mu.Lock()
	known := x.leaks.put(d)
	known.listedBy, known.reported = o.UID, false // whoever has reported it here has been heard
	x.leaks.listed[o.UID] = d
	unserved := x.endLeaked(d)
	x.mu.Unlock()
	if unserved {
		x.cutUnserved()
	}
	x.onLeak()
}

// RemoveLeak takes in that a LeakedKey is gone: somebody has forgiven the leak.
func (x *Index) RemoveLeak(o *v1alpha1.LeakedKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLeak(o.UID)
}

// removeLeak forgets a LeakedKey. mu must be held.
func (x *Index) removeLeak(id types.UID) {
	d, ok := x.leaks.listed[id]
	if !ok {
		return
	}
	delete(x.leaks.listed, id)
	// Not one that was made anew in the meantime; and a watch may have lost that the other one is gone, so that there is
	// nothing any more.
	if k := x.leaks.of(d); k != nil && k.listedBy == id {
		k.listedBy = ""
		x.forgive(d)
	}
}

// retainLeaks forgets the LeakedKeys that are not among ids.
func (x *Index) retainLeaks(ids map[types.UID]struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id := range x.leaks.listed {
		if _, ok := ids[id]; !ok {
			x.removeLeak(id)
		}
	}
}

// endLeaked refuses all keys with this digest. mu must be held.
func (x *Index) endLeaked(d key.Digest) (unserved bool) {
	x.keys.all(d, func(s *slot) {
		was := s.state.Or(leaked)
		unserved = unserved || was&leaked == 0
		if was&ended == 0 {
			x.noteRevoked(s.key)
		}
	})
	return unserved
}

// forgive lets keys with this digest be served again, if nobody says any more that it has leaked. mu must be held.
func (x *Index) forgive(d key.Digest) {
	if x.leaks.drop(d) {
		x.keys.all(d, func(s *slot) { s.state.And(^leaked) })
	}
}
