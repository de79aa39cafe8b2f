// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/key"
)

func TestReservations(t *testing.T) {
	holderOf := func(name, uid string) holder {
		return holder{name: types.NamespacedName{Namespace: "acme", Name: name}, uid: types.UID(uid)}
	}
	one, two := place{"acme", key.Lookup{1}}, place{"acme", key.Lookup{2}}
	a, again, b := holderOf("a", "a-1"), holderOf("a", "a-2"), holderOf("b", "b-1")
	for _, tc := range []struct {
		reason string
		before func(*reservations)
		place  place
		by     holder
		want   bool
	}{
		{"nobody has reserved it", func(*reservations) {}, one, a, true},
		{"a key reserves its own hash again, after a failed write", func(c *reservations) { c.reserve(one, a) }, one, a, true},
		{"somebody else has reserved it", func(c *reservations) { c.reserve(one, a) }, one, b, false},
		{"reservations of other hashes do not matter", func(c *reservations) { c.reserve(two, a) }, one, b, true},
		{"of another organization: that is another place", func(c *reservations) { c.reserve(place{"globex", one.lookup}, a) }, one, b, true},
		{"the holder is gone", func(c *reservations) { c.reserve(one, a); c.forget(a.name) }, one, b, true},
		{"the holder has its hash, and the cache shows it", func(c *reservations) { c.reserve(one, a); c.seen(a.name, a.uid) }, one, b, true},
		{"the cache shows an older key of the holder's name", func(c *reservations) { c.reserve(one, again); c.seen(a.name, a.uid) }, one, b, false},
		{"the cache shows another key's hash", func(c *reservations) { c.reserve(one, a); c.seen(b.name, b.uid) }, one, b, false},
		{"another key is gone", func(c *reservations) { c.reserve(one, a); c.forget(b.name) }, one, b, false},
		{"a key deleted and made again is not in its own way", func(c *reservations) { c.reserve(one, a) }, one, again, true},
		{"nor in another's: it wants another hash now", func(c *reservations) { c.reserve(one, a); c.reserve(two, again) }, one, b, true},
		{"a reservation that was refused is none", func(c *reservations) { c.reserve(one, a); c.reserve(one, b); c.forget(a.name) }, one, holderOf("c", "c-1"), true},
		{"a reservation that was refused ends no other", func(c *reservations) { c.reserve(one, a); c.reserve(one, b); c.forget(b.name) }, one, b, false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newReservations()
			tc.before(c)
			if got := c.reserve(tc.place, tc.by); got != tc.want {
				t.Errorf("reserve() = %v, want %v", got, tc.want)
			}
		})
	}
}

// TestReservationsEnd is about memory: a controller that runs for a year must not remember every key that it ever gave
// a hash.
func TestReservationsEnd(t *testing.T) {
	c := newReservations()
	for i := range byte(100) {
		by := holder{name: types.NamespacedName{Name: string(rune('a' + i%10))}, uid: types.UID(rune(i))}
		c.reserve(place{"acme", key.Lookup{i}}, by)
		switch i % 3 {
		case 0:
			c.seen(by.name, by.uid)
		case 1:
			c.forget(by.name)
		}
	}
	for i := range byte(10) {
		c.forget(types.NamespacedName{Name: string(rune('a' + i))})
	}
	if diff := cmp.Diff([2]int{}, [2]int{len(c.byPlace), len(c.byName)}); diff != "" {
		t.Errorf("reservations by place and by name that never end (-want +got):\n%s", diff)
	}
}
