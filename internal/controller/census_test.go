// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

func inCensus(namespace, name, uid, hash string) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)},
		Status:     v1alpha1.ApiKeyStatus{Hash: hash},
	}
}

// TestCensus: who gets a place, by what has happened before.
func TestCensus(t *testing.T) {
	const most = 2
	key := func(name string) *v1alpha1.ApiKey { return inCensus("acme", name, name+"-1", "") }
	hashed := func(name string) *v1alpha1.ApiKey { return inCensus("acme", name, name+"-1", "sha256:…") }
	take := func(names ...string) func(*census) {
		return func(c *census) {
			for _, name := range names {
				c.take(key(name))
			}
		}
	}
	there := func(names ...string) func(*census) {
		return func(c *census) {
			for _, name := range names {
				c.changed(nil, hashed(name))
			}
		}
	}
	leak := func(namespace, name string, is bool) func(*census) {
		l := &v1alpha1.LeakedKey{Spec: v1alpha1.LeakedKeySpec{ApiKeyNamespace: namespace}}
		l.Name = name
		return func(c *census) { c.leakChanged(l, is) }
	}
	gone := func(name string) func(*census) { return func(c *census) { c.changed(hashed(name), nil) } }
	for _, tc := range []struct {
		reason string
		before []func(*census)
		want   placing
		woken  []string
	}{
		{"nobody is there", nil, placeTaken, nil},
		{"one is", []func(*census){there("a")}, placeTaken, nil},
		{"as many as may be", []func(*census){there("a", "b")}, placeRefused, nil},
		{"as many are being minted", []func(*census){take("a", "b")}, placeRefused, nil},
		{"one is there, and one is being minted", []func(*census){there("a"), take("b")}, placeRefused, nil},
		{"it has its place already", []func(*census){there("a"), take("k")}, placeTaken, nil},
		{"one that is being minted has its hash now: it counts once", []func(*census){take("a"), there("a")}, placeTaken, nil},
		{"others are of another organization", []func(*census){func(c *census) {
			c.changed(nil, inCensus("globex", "a", "a-1", "sha256:…"))
			c.changed(nil, inCensus("globex", "b", "b-1", "sha256:…"))
		}}, placeTaken, nil},
		{"one that was not minted has given up", []func(*census){there("a"), take("b"), func(c *census) { c.giveUp(key("b")) }}, placeTaken, nil},
		{"one that is being minted is deleted", []func(*census){there("a"), take("b"), func(c *census) { c.changed(key("b"), nil) }}, placeTaken, nil},
		{"one took its place when it was gone already", []func(*census){there("a"), take("b"), func(c *census) {
			c.gone(types.NamespacedName{Namespace: "acme", Name: "b"})
		}}, placeTaken, nil},
		{"one is deleted, and waits for the barrier", []func(*census){there("a", "b"), func(c *census) { c.changed(hashed("b"), hashed("b")) }}, placeRefused, nil},
		{"one is gone", []func(*census){there("a", "b"), func(c *census) { c.changed(hashed("b"), nil) }}, placeTaken, nil},
		{"one was deleted and made again, which was seen as one change", []func(*census){there("a", "b"), func(c *census) {
			c.changed(hashed("b"), inCensus("acme", "b", "b-2", ""))
		}}, placeTaken, nil},
		{"a key that has leaked keeps its place", []func(*census){there("a", "b"), leak("acme", "b", true), gone("b")}, placeRefused, nil},
		{"also one of before this process", []func(*census){leak("acme", "a", true), leak("acme", "b", true)}, placeRefused, nil},
		{"one that is told of twice counts once", []func(*census){leak("acme", "a", true), leak("acme", "a", true)}, placeTaken, nil},
		{"those of others take none", []func(*census){leak("globex", "a", true), leak("globex", "b", true)}, placeTaken, nil},
		{"one that is forgiven makes room", []func(*census){
			leak("acme", "a", true), leak("acme", "b", true), take("x"), leak("acme", "a", false),
		}, placeTaken, []string{"x"}},
		{"who waits is not woken for a key that has leaked", []func(*census){
			there("a", "b"), take("x"), leak("acme", "b", true), gone("b"),
		}, placeRefused, nil},
		{"who waits is woken in turn, as many as there is room for", []func(*census){there("a", "b"), take("x", "y", "z"), func(c *census) {
			c.changed(hashed("a"), nil)
		}}, placeTaken, []string{"x"}},
		{"who waits and goes is not woken", []func(*census){there("a", "b"), take("x", "y"), func(c *census) {
			c.changed(key("x"), nil)
			c.changed(hashed("a"), nil)
		}}, placeTaken, []string{"y"}},
		{"who waits and is refused again waits once", []func(*census){there("a", "b"), take("x", "y", "x"), func(c *census) {
			c.changed(hashed("a"), nil)
			c.changed(hashed("b"), nil)
		}}, placeTaken, []string{"x", "y"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newCensus(most)
			var woken []string
			c.wake = func(r reconcile.Request) { woken = append(woken, r.Name) }
			for _, do := range tc.before {
				do(c)
			}
			if !slices.Equal(woken, tc.woken) {
				t.Errorf("woken: %v, want %v", woken, tc.woken)
			}
			if got := c.take(key("k")); got != tc.want {
				t.Errorf("take = %v, want %v", got, tc.want)
			}
		})
	}
	c := newCensus(most)
	c.synced = func() bool { return false }
	if got := c.take(key("k")); got != placeUnknown {
		t.Errorf("before all are counted, take = %v", got)
	}
	if unbounded := newCensus(0); unbounded.take(key("k")) != placeTaken {
		t.Error("without a quota, a key has no place")
	}
}

// TestCensusCounts lives through random lives of keys, and compares with what is there: no more than there may be ever
// have a place, and nothing is remembered of those that are gone.
func TestCensusCounts(t *testing.T) {
	const most = 4
	for seed := range uint64(300) {
		dice := rand.New(rand.NewPCG(seed, 0))
		c := newCensus(most)
		c.wake = func(reconcile.Request) {}
		alive := map[string]*v1alpha1.ApiKey{}
		placed, leaked := map[string]bool{}, map[string]*v1alpha1.LeakedKey{}
		for step := range 300 {
			name := fmt.Sprint(dice.IntN(10))
			k := alive[name]
			switch {
			case k == nil:
				alive[name] = inCensus("acme", name, fmt.Sprint(name, "-", step), "")
				c.changed(nil, alive[name])
			case k.Status.Hash == "" && placed[name] && dice.IntN(3) == 0:
				c.giveUp(k)
				delete(placed, name)
			case k.Status.Hash == "" && placed[name] && dice.IntN(2) == 0:
				minted := k.DeepCopy()
				minted.Status.Hash = "sha256:…"
				c.changed(k, minted)
				alive[name] = minted
			case k.Status.Hash == "" && dice.IntN(3) > 0:
				free := len(placed)+len(leaked) < most
				if got := c.take(k) == placeTaken; got != (placed[name] || free) {
					t.Fatalf("seed %d, step %d: take = %t, with %d places taken", seed, step, got, len(placed)+len(leaked))
				} else if got {
					placed[name] = true
				}
			case k.Status.Hash != "" && dice.IntN(3) == 0:
				leaked[string(k.UID)] = &v1alpha1.LeakedKey{
					ObjectMeta: metav1.ObjectMeta{Name: string(k.UID)}, Spec: v1alpha1.LeakedKeySpec{ApiKeyNamespace: "acme"},
				}
				c.leakChanged(leaked[string(k.UID)], true)
			case len(leaked) > 0 && dice.IntN(3) == 0:
				forgiven := slices.Sorted(maps.Keys(leaked))[0]
				c.leakChanged(leaked[forgiven], false)
				delete(leaked, forgiven)
			default:
				c.changed(k, nil)
				delete(alive, name)
				delete(placed, name)
			}
		}
		for _, l := range leaked {
			c.leakChanged(l, false)
		}
		for name, k := range alive {
			c.changed(k, nil)
			c.gone(client.ObjectKey{Namespace: "acme", Name: name})
		}
		if len(c.namespaces) != 0 {
			t.Fatalf("seed %d: something is remembered of an empty namespace", seed)
		}
	}
}
