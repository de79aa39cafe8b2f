// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

func TestIndexListings(t *testing.T) {
	brand := authntest.Profile(named("brand"), func(p *v1alpha1.Profile) { p.CreationTimestamp.Time = after(time.Hour) })
	shop := authntest.Profile(named("shop"))
	theirs := authntest.Profile(func(p *v1alpha1.Profile) { p.Namespace, p.Status.OrganizationID = "globex", "globex-uid" })
	oldest, sFree := minted(t)
	newest, _ := minted(t, authntest.CreatedAt(after(3*time.Hour)))
	twinA, _ := minted(t, authntest.CreatedAt(after(time.Hour)))
	twinB, _ := minted(t, authntest.CreatedAt(after(time.Hour)))
	pinned, sPinned := minted(t, authntest.PinnedTo(brand), authntest.CreatedAt(after(2*time.Hour)))
	gone, _ := minted(t, authntest.PinnedTo(brand), authntest.ExpiringAt(now))
	elsewhere, _ := minted(t, authntest.PinnedTo(shop))
	foreign, sForeign := minted(t, authntest.In("globex", "globex-uid"))
	unminted, _ := minted(t, func(k *v1alpha1.ApiKey) { k.Status.Hash = "" })
	x := authntest.Index(t, shop, brand, theirs, twinA, oldest, elsewhere, newest, gone, twinB, pinned, foreign, unminted)

	for _, tc := range []struct {
		reason   string
		as       string
		key      *v1alpha1.ApiKey
		keys     []types.UID
		profiles []types.UID
	}{
		{
			"a key of the organization sees all of it, newest first, and the larger UID first within a second", sFree, oldest,
			[]types.UID{newest.UID, pinned.UID, twinB.UID, twinA.UID, elsewhere.UID, gone.UID, oldest.UID},
			[]types.UID{brand.UID, shop.UID},
		},
		{"a pinned key sees its Profile and the keys pinned to it", sPinned, pinned, []types.UID{pinned.UID, gone.UID}, []types.UID{brand.UID}},
		{"another organization sees its own", sForeign, foreign, []types.UID{foreign.UID}, []types.UID{theirs.UID}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			id := served(t, x, tc.as, tc.key)
			for range 2 { // sorted, then remembered
				if diff := cmp.Diff(tc.keys, keyIDs(x.Keys(id.Caller()))); diff != "" {
					t.Errorf("keys (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.profiles, profileIDs(x.Profiles(id.Caller()))); diff != "" {
					t.Errorf("Profiles (-want +got):\n%s", diff)
				}
			}
		})
	}

	id := served(t, x, sFree, oldest)
	x.RemoveKey(newest)
	x.RemoveProfile(shop)
	want := []types.UID{pinned.UID, twinB.UID, twinA.UID, elsewhere.UID, gone.UID, oldest.UID}
	if diff := cmp.Diff(want, keyIDs(x.Keys(id.Caller()))); diff != "" {
		t.Errorf("keys after one went (-want +got):\n%s", diff)
	}
	late, _ := minted(t, authntest.CreatedAt(after(4*time.Hour)))
	x.PutKey(late)
	want = append([]types.UID{late.UID}, want...)
	if diff := cmp.Diff(want, keyIDs(x.Keys(id.Caller()))); diff != "" {
		t.Errorf("keys after one came (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]types.UID{brand.UID}, profileIDs(x.Profiles(id.Caller()))); diff != "" {
		t.Errorf("Profiles after one went (-want +got):\n%s", diff)
	}
	x.PutProfile(shop)
	if diff := cmp.Diff([]types.UID{brand.UID, shop.UID}, profileIDs(x.Profiles(id.Caller()))); diff != "" {
		t.Errorf("Profiles after one came (-want +got):\n%s", diff)
	}
}

func TestIndexOfAnIdentityThatIsGone(t *testing.T) {
	k, s := minted(t)
	x := authntest.Index(t, k)
	id := served(t, x, s, k)
	x.RemoveKey(k) // while its request runs
	if keys, profiles := x.Keys(id.Caller()), x.Profiles(id.Caller()); keys != nil || profiles != nil {
		t.Errorf("of an organization that is gone, it shows %v and %v", keys, profiles)
	}
}

func TestProfileFields(t *testing.T) {
	spec := metav1.Time{Time: after(time.Hour)}
	status := metav1.Time{Time: after(2 * time.Hour)}
	named := authntest.Profile(func(p *v1alpha1.Profile) {
		p.Spec.DisplayName = "Brand"
		p.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &spec}, {Time: &status, Subresource: "status"}, {}}
	})
	plain := authntest.Profile()
	k, s := minted(t)
	x := authntest.Index(t, k, named, plain)
	want := []*caller.Profile{
		{ID: string(plain.UID), Name: plain.Name, DisplayName: plain.Name, CreatedAt: authntest.Epoch, UpdatedAt: authntest.Epoch},
		{ID: string(named.UID), Name: named.Name, DisplayName: "Brand", CreatedAt: authntest.Epoch, UpdatedAt: spec.Time},
	}
	if diff := cmp.Diff(want, x.Profiles(served(t, x, s, k).Caller())); diff != "" {
		t.Errorf("Profiles (-want +got):\n%s", diff)
	}
}
