// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// TestCallerFollowsItsProfile: requests of a key share who they come from, as long as that is the same.
func TestCallerFollowsItsProfile(t *testing.T) {
	profile := authntest.Profile()
	pinned, pinnedKey := minted(t, authntest.PinnedTo(profile))
	free, freeKey := minted(t)
	x := authntest.Index(t, profile, pinned, free)

	before := served(t, x, pinnedKey, pinned).Caller()
	if again := served(t, x, pinnedKey, pinned).Caller(); again != before {
		t.Error("two requests in a row do not share it")
	}
	// Logs ask for a key without its Profile: that must not become who the next request comes from, nor the other way.
	if bare := (authn.Identity{Key: served(t, x, pinnedKey, pinned).Key}).Caller(); bare.Profile != nil {
		t.Errorf("without a Profile it is %+v", bare)
	}
	if got := served(t, x, pinnedKey, pinned).Caller(); got.ProfileID() != string(profile.UID) {
		t.Errorf("who is confined to a Profile reaches more: %+v", got)
	}

	changed := profile.DeepCopy()
	changed.Spec.DisplayName, changed.Spec.DefaultRateLimit = "Renamed", limited(21, time.Minute)
	x.PutProfile(changed)
	after := served(t, x, pinnedKey, pinned).Caller()
	if after.Profile.DisplayName != "Renamed" || after.Rate != (rate.Rate{Requests: 21, Window: time.Minute}) {
		t.Errorf("after the change it is %+v of %+v", after, after.Profile)
	}
	if before.Profile.DisplayName == "Renamed" || before.Meter != after.Meter {
		t.Errorf("a request that runs sees the change, or the rate begins anew: %+v", before)
	}

	if a, b := served(t, x, freeKey, free).Caller(), after; a == b || a.Actor.ID == b.Actor.ID || a.Profile != nil {
		t.Errorf("another key's requests come from %+v", a)
	}
}

// TestCallersAtOnce: who comes with a key while its Profile changes is confined to it all the same.
func TestCallersAtOnce(t *testing.T) {
	profile := authntest.Profile()
	k, s := minted(t, authntest.PinnedTo(profile))
	x := authntest.Index(t, profile, k)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			changed := profile.DeepCopy()
			changed.Spec.DefaultRateLimit = &v1alpha1.RateLimit{Requests: int32(i + 1), Window: limited(1, time.Minute).Window}
			x.PutProfile(changed)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		id := served(t, x, s, k)
		if c := id.Caller(); c.Profile != &id.Profile.Profile {
			t.Fatalf("it is of another state of the Profile: %+v", c)
		}
	}
	if got, want := served(t, x, s, k).Caller().Rate.Requests, int64(200); got != want {
		t.Errorf("the rate is %d, want %d", got, want)
	}
}
