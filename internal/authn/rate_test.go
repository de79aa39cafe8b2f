// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

func limited(requests int32, window time.Duration) *v1alpha1.RateLimit {
	return &v1alpha1.RateLimit{Requests: requests, Window: metav1.Duration{Duration: window}}
}

func rateOf(id authn.Identity, otherwise rate.Rate) rate.Rate {
	return id.Caller().RateOr(otherwise)
}

// TestRate: whose rate a key has.
func TestRate(t *testing.T) {
	profile := authntest.Profile(func(p *v1alpha1.Profile) { p.Spec.DefaultRateLimit = limited(20, 90*time.Minute) })
	bare := authntest.Profile()
	otherwise := rate.Rate{Requests: 30, Window: time.Second}
	own := func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = limited(1_000_000, 24*time.Hour) }
	for _, tc := range []struct {
		reason string
		mods   []func(*v1alpha1.ApiKey)
		want   rate.Rate
	}{
		{"its own", []func(*v1alpha1.ApiKey){own}, rate.Rate{Requests: 1_000_000, Window: 24 * time.Hour}},
		{"its own before its Profile's", []func(*v1alpha1.ApiKey){own, authntest.PinnedTo(profile)}, rate.Rate{Requests: 1_000_000, Window: 24 * time.Hour}},
		{"its Profile's", []func(*v1alpha1.ApiKey){authntest.PinnedTo(profile)}, rate.Rate{Requests: 20, Window: 90 * time.Minute}},
		{"its Profile has none", []func(*v1alpha1.ApiKey){authntest.PinnedTo(bare)}, otherwise},
		{"no Profile", nil, otherwise},
		{"what the API does not admit", []func(*v1alpha1.ApiKey){func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = limited(-1, time.Hour) }}, otherwise},
		{"in milliseconds", []func(*v1alpha1.ApiKey){func(k *v1alpha1.ApiKey) { k.Spec.RateLimit = limited(7, 1001*time.Millisecond) }}, rate.Rate{Requests: 7, Window: 1001 * time.Millisecond}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, tc.mods...)
			x := authntest.Index(t, profile, bare, k)
			if got := rateOf(served(t, x, s, k), otherwise); got != tc.want {
				t.Errorf("rate %v, want %v", got, tc.want)
			}
		})
	}
	t.Run("a Profile's that is changed", func(t *testing.T) {
		k, s := minted(t, authntest.PinnedTo(profile))
		x := authntest.Index(t, profile, k)
		changed := profile.DeepCopy()
		changed.Spec.DefaultRateLimit = limited(21, time.Minute)
		x.PutProfile(changed)
		if got, want := rateOf(served(t, x, s, k), otherwise), (rate.Rate{Requests: 21, Window: time.Minute}); got != want {
			t.Errorf("rate %v, want %v", got, want)
		}
	})
}
