// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestOnRevoked: each key is told of once, with its own running requests, however its end came to be known.
func TestOnRevoked(t *testing.T) {
	for _, tc := range []struct {
		reason string
		do     func(*authn.Index, *v1alpha1.ApiKey)
		told   bool
	}{
		{"it is served", func(x *authn.Index, k *v1alpha1.ApiKey) { x.PutKey(k) }, false},
		{"it is being deleted", func(x *authn.Index, k *v1alpha1.ApiKey) {
			authntest.Deleting(k)
			x.PutKey(k)
		}, true},
		{"it is being deleted, and heard of again, and gone", func(x *authn.Index, k *v1alpha1.ApiKey) {
			authntest.Deleting(k)
			x.PutKey(k)
			x.PutKey(k)
			x.RemoveKey(k)
		}, true},
		{"it is gone, and its deletion was not heard of", func(x *authn.Index, k *v1alpha1.ApiKey) { x.RemoveKey(k) }, true},
		{"it is a duplicate", func(x *authn.Index, k *v1alpha1.ApiKey) {
			authntest.Duplicate(k)
			x.PutKey(k)
		}, false},
	} {
		k, plaintext := authntest.Minted(t, authntest.Format(t), key.Live)
		other, otherPlaintext := authntest.Minted(t, authntest.Format(t), key.Live)
		x := authn.NewIndex()
		got := map[types.UID][]int{}
		x.OnRevoked(func(k *authn.Key, running int) {
			_ = x.Size() // takes the index's lock
			got[k.ID()] = append(got[k.ID()], running)
		})
		x.PutKey(k)
		x.PutKey(other)
		a := authntest.Authenticator(t, x, key.Live, testclock.NewFakePassiveClock(authntest.Epoch))
		var flights [3]authn.Flight
		for i, p := range []string{plaintext, plaintext, otherPlaintext} {
			if err := a.AdmitNow(t.Context(), []string{"Bearer " + p}, &flights[i]); err != nil {
				t.Fatal(err)
			}
		}
		tc.do(x, k.DeepCopy())
		want := map[types.UID][]int{}
		if tc.told {
			want[k.UID] = []int{2}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		for i := range flights {
			_ = flights[i].End()
		}
	}
}
