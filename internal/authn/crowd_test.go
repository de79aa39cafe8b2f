// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// crowd makes n keys, minted one after the other, of both kinds: every third was brought.
func crowd(t *testing.T, n int) (keys []*v1alpha1.ApiKey, plaintexts []string) {
	t.Helper()
	for i := range n {
		mods := []func(*v1alpha1.ApiKey){authntest.CreatedAt(authntest.Epoch.Add(time.Duration(i) * time.Second))}
		if i%3 == 0 {
			mods = append(mods, authntest.ByHash)
		}
		k, plaintext := minted(t, mods...)
		keys, plaintexts = append(keys, k), append(plaintexts, plaintext)
	}
	return keys, plaintexts
}

// TestCrowdedOrganization puts more keys than an organization may have, in random orders and over and over, among them
// some that are deleted meanwhile. The oldest of those that are there are served, and no other, whatever came first.
func TestCrowdedOrganization(t *testing.T) {
	const most, all = 10, 25
	keys, plaintexts := crowd(t, all)
	neighbour, theirs := minted(t, authntest.In("globex", "globex-uid"))
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 0))
		x := authn.NewIndex()
		x.LimitKeys(most)
		x.PutKey(neighbour)
		for _, i := range append(dice.Perm(all), dice.Perm(all)...) {
			x.PutKey(keys[i])
			authn.CheckIndex(t, x, fmt.Sprintf("seed %d", seed))
		}
		for i, plaintext := range plaintexts {
			entry := x.Entry(key.DigestOf(plaintext))
			if (entry != nil) != (i < most) {
				t.Fatalf("seed %d: key %d is held: %t", seed, i, entry != nil)
			}
		}
		served(t, x, plaintexts[most-1], keys[most-1])
		refused(t, x, plaintexts[most], authn.Unknown)
		served(t, x, theirs, neighbour)
		if x.Crowded() != 1 {
			t.Errorf("%d organizations are said to have too many", x.Crowded())
		}
		// Removed, of those that are held and those that are not: then as many are held as are there to be put again.
		gone := map[int]bool{}
		for _, i := range dice.Perm(all)[:12] {
			x.RemoveKey(keys[i])
			gone[i] = true
		}
		var want []types.UID
		for _, i := range dice.Perm(all) {
			if !gone[i] {
				x.PutKey(keys[i])
			}
		}
		for i, k := range keys {
			if !gone[i] && len(want) < most {
				want = append(want, k.UID)
			}
		}
		first := slices.IndexFunc(keys, func(k *v1alpha1.ApiKey) bool { return k.UID == want[0] })
		got := keyIDs(x.Keys(served(t, x, plaintexts[first], keys[first]).Caller()))
		slices.Reverse(got) // newest first
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: held %v, want %v", seed, got, want)
		}
		authn.CheckIndex(t, x, fmt.Sprintf("seed %d, in the end", seed))
	}
}

// TestAKeyWithoutRoomIsRevoked: that a key is not held changes nothing about its deletion. It is confirmed, and what it
// has queued is canceled first.
func TestAKeyWithoutRoomIsRevoked(t *testing.T) {
	for _, cancels := range []bool{false, true} {
		x, keys, feed, w := withdrawing()
		x.LimitKeys(1)
		first, _ := minted(t)
		k, plaintext := minted(t, awaited, authntest.CreatedAt(authntest.Epoch.Add(time.Hour)))
		must(t, keys.Update(first))
		must(t, keys.Update(k.DeepCopy()))
		refused(t, x, plaintext, authn.Unknown)
		confirms(t, feed, k, false)
		if cancels {
			canceling("true")(k)
		}
		authntest.Deleting(k)
		must(t, keys.Update(k.DeepCopy()))
		if cancels {
			confirms(t, feed, k, false)
			if !slices.Equal(w.keys, []types.UID{k.UID}) {
				t.Fatalf("withdrawn: %v", w.keys)
			}
			w.dones[0]()
		}
		confirms(t, feed, k, true)
		must(t, keys.Delete(k))
		unheld(t, x, k)
	}
}

// TestRoomForKeys: when there is room again, whoever was turned away is asked for.
func TestRoomForKeys(t *testing.T) {
	x := authn.NewIndex()
	x.LimitKeys(2)
	_, _, feed := authn.Stores(x)
	keys, plaintexts := crowd(t, 3)
	for _, k := range keys {
		x.PutKey(k)
	}
	if authn.RoomMade(feed) {
		t.Error("keys are asked for while there is no room")
	}
	x.RemoveKey(keys[2]) // which was not held
	if authn.RoomMade(feed) {
		t.Error("keys are asked for when one is gone that was not held")
	}
	x.RemoveKey(keys[0])
	if !authn.RoomMade(feed) {
		t.Error("nobody asks for the keys that there is room for")
	}
	x.PutKey(keys[2])
	served(t, x, plaintexts[2], keys[2])
	if x.Crowded() != 0 {
		t.Error("there is room, and an organization is said to have too many")
	}
}
