// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

// OnRevoked sets what is called with each key that the index has held and refuses from now on, because its ApiKey is
// being deleted or is gone, and with the number of its requests that ran at that moment. It is set before the first key
// is put.
//
// It is called once for each, without a lock held, but by who feeds the index: it must return soon.
func (x *Index) OnRevoked(revoked func(k *Key, running int)) { x.revoked = revoked }

// end notes that a key is refused from now on; x.mu must be held. cutUnserved is to follow.
func (x *Index) end(k *Key) {
	if x.revoked != nil {
		x.ended = append(x.ended, k)
	}
}

// takeEnded returns the keys that are to be told of, and a count for each; nil maps count nothing.
func (x *Index) takeEnded() (ended []*Key, running map[*Key]int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	ended, x.ended = x.ended, nil
	if len(ended) > 0 {
		running = make(map[*Key]int, len(ended))
		for _, k := range ended {
			running[k] = 0
		}
	}
	return ended, running
}
