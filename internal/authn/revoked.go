// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

// OnRevoked sets what is called with each key that the index has held and refuses from now on, because its ApiKey is
// being deleted or is gone, or because somebody has reported it as leaked; and with the number of its requests that ran
// at that moment. It is set before the first key is put.
//
// It is called once for each, without a lock held, but by who feeds the index: it must return soon, or the next
// revocation waits for it.
func (x *Index) OnRevoked(revoked func(k *Key, running int)) { x.onRevoked = revoked }

// noteRevoked notes a key that is refused from now on, for cutUnserved to tell of it; x.mu must be held. It can't be
// told at once: how many requests ran is known only when they have been cut, which is done without the lock.
func (x *Index) noteRevoked(k *Key) {
	if x.onRevoked != nil {
		x.revoked = append(x.revoked, k)
	}
}

// takeRevoked returns the keys that have been noted, and a count of running requests for each, still zero.
func (x *Index) takeRevoked() (revoked []*Key, running map[*Key]int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	revoked, x.revoked = x.revoked, nil
	if len(revoked) > 0 {
		running = make(map[*Key]int, len(revoked))
		for _, k := range revoked {
			running[k] = 0
		}
	}
	return revoked, running
}
