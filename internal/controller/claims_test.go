// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestClaims(t *testing.T) {
	claimOf := func(name, uid string) claim {
		return claim{name: types.NamespacedName{Namespace: "acme", Name: name}, uid: types.UID(uid)}
	}
	one, two := key.Hash{1}, key.Hash{2}
	a, again, b := claimOf("a", "a-1"), claimOf("a", "a-2"), claimOf("b", "b-1")
	for _, tc := range []struct {
		reason string
		before func(*claims)
		hash   key.Hash
		by     claim
		want   bool
	}{
		{"nobody has claimed it", func(*claims) {}, one, a, true},
		{"a key takes its own claim again, after a failed write", func(c *claims) { c.take(one, a) }, one, a, true},
		{"somebody else has claimed it", func(c *claims) { c.take(one, a) }, one, b, false},
		{"claims of other hashes do not matter", func(c *claims) { c.take(two, a) }, one, b, true},
		{"the holder is gone", func(c *claims) { c.take(one, a); c.release(a.name) }, one, b, true},
		{"the holder has its hash, and the cache shows it", func(c *claims) { c.take(one, a); c.settle(a.name, a.uid) }, one, b, true},
		{"the cache shows an older key of the holder's name", func(c *claims) { c.take(one, again); c.settle(a.name, a.uid) }, one, b, false},
		{"the cache shows another key's hash", func(c *claims) { c.take(one, a); c.settle(b.name, b.uid) }, one, b, false},
		{"another key is gone", func(c *claims) { c.take(one, a); c.release(b.name) }, one, b, false},
		{"a key deleted and made again is not in its own way", func(c *claims) { c.take(one, a) }, one, again, true},
		{"nor in another's: it wants another hash now", func(c *claims) { c.take(one, a); c.take(two, again) }, one, b, true},
		{"a claim that was refused is none", func(c *claims) { c.take(one, a); c.take(one, b); c.release(a.name) }, one, claimOf("c", "c-1"), true},
		{"a claim that was refused ends no other", func(c *claims) { c.take(one, a); c.take(one, b); c.release(b.name) }, one, b, false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newClaims()
			tc.before(c)
			if got := c.take(tc.hash, tc.by); got != tc.want {
				t.Errorf("take() = %v, want %v", got, tc.want)
			}
		})
	}
}

// TestClaimsEnd is about memory: a controller that runs for a year must not remember every key that it ever gave a
// hash.
func TestClaimsEnd(t *testing.T) {
	c := newClaims()
	for i := range byte(100) {
		by := claim{name: types.NamespacedName{Name: string(rune('a' + i%10))}, uid: types.UID(rune(i))}
		c.take(key.Hash{i}, by)
		switch i % 3 {
		case 0:
			c.settle(by.name, by.uid)
		case 1:
			c.release(by.name)
		}
	}
	for i := range byte(10) {
		c.release(types.NamespacedName{Name: string(rune('a' + i))})
	}
	if diff := cmp.Diff([2]int{}, [2]int{len(c.byHash), len(c.byName)}); diff != "" {
		t.Errorf("claims by hash and by name that never end (-want +got):\n%s", diff)
	}
}
