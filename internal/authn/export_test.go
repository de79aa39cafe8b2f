// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// What the tests of package authn_test see of the inside.

// Entry returns the key with this digest, served or not.
func (x *Index) Entry(d key.Digest) *Key {
	if s := x.keys.get(d); s != nil {
		return s.key
	}
	return nil
}

// Held returns how many organizations and Profiles the index holds anything of.
func (x *Index) Held() (organizations, pins int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.organizations), len(x.pins)
}

// Stores returns the stores that a feed's reflectors write to.
func Stores(x *Index) (keys, profiles cache.ReflectorStore, f *Feed) {
	f = NewFeed(x, nil, clock.RealClock{})
	return f.keys[0], f.profiles[0], f
}

// StoresOf returns the stores of a feed that follows namespaces, by their names.
func StoresOf(x *Index, clock clock.PassiveClock, namespaces ...string) (keys, profiles map[string]Store, f *Feed) {
	f = NewFeed(x, nil, clock, namespaces...)
	keys, profiles = map[string]Store{}, map[string]Store{}
	for i, namespace := range namespaces {
		keys[namespace], profiles[namespace] = f.keys[i], f.profiles[i]
	}
	return keys, profiles, f
}

// Store is all that a reflector writes to.
type Store interface {
	cache.ReflectorStore
	cache.ReflectorBookmarkStore
}

// OnTell has told called when f says that Applied has another key to return.
func OnTell(f *Feed, told func()) {
	for _, keys := range f.keys {
		keys.notify = told
	}
}

// ListPage lists ApiKeys as a feed does.
func ListPage(ctx context.Context, client rest.Interface, options metav1.ListOptions) (runtime.Object, error) {
	l := listWatch{client: client, resource: "apikeys", newList: func() runtime.Object { return new(v1alpha1.ApiKeyList) }}
	return l.ListWithContext(ctx, options)
}

// CheckIndex compares what the index holds in several places.
func CheckIndex(t testing.TB, x *Index, when string) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	pins, listed := map[*pin]int{}, 0
	for organization, tenant := range x.organizations {
		if len(tenant.keys) == 0 && len(tenant.profiles) == 0 || *tenant.organization != organization {
			t.Errorf("%s: organization %s is held for nothing", when, organization)
		}
		for k := range tenant.keys {
			listed++
			s := k.slot.Load()
			if s == nil || s.key != k || x.keys.find(s.hash.Lookup, func(found *slot) bool { return found == s }) == nil {
				t.Errorf("%s: key %s is listed but not found", when, k.ID())
			}
			if s != nil && (s.organization != k.Organization || (s.state.Load()&pinned != 0) != (k.pin != nil)) {
				t.Errorf("%s: the slot of key %s is not its key's", when, k.ID())
			}
			if k.Organization != tenant.organization {
				t.Errorf("%s: key %s has an organization of its own", when, k.ID())
			}
			if k.pin != nil {
				pins[k.pin]++
				if x.pins[k.pin.id] != k.pin {
					t.Errorf("%s: key %s holds a pin that no Profile will move", when, k.ID())
				}
			}
		}
		for id, p := range tenant.profiles {
			if pin := x.pins[id]; pin == nil || pin.profile.Load() != p {
				t.Errorf("%s: Profile %s is listed but not the one that is pinned to", when, id)
			}
		}
	}
	if listed != x.keys.size {
		t.Errorf("%s: %d keys are listed, %d are in the table", when, listed, x.keys.size)
	}
	for id, p := range x.pins {
		if p.keys != pins[p] || p.keys == 0 && p.profile.Load() == nil {
			t.Errorf("%s: pin %s counts %d keys, has %d", when, id, p.keys, pins[p])
		}
	}
}

// RoomMade tells whether the feed was told that there is room for keys that were turned away.
func RoomMade(f *Feed) bool {
	select {
	case <-f.room:
		return true
	default:
		return false
	}
}

// RetainLeaks does what a list of LeakedKeys with these UIDs does.
func (x *Index) RetainLeaks(ids ...types.UID) { x.retainLeaks(setOf(ids)) }
