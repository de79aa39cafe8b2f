// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// now is when the tests authenticate: a day after everything was made.
var now = authntest.Epoch.AddDate(0, 0, 1)

func authenticator(t testing.TB, x *authn.Index) *authn.Authenticator {
	t.Helper()
	return authntest.Authenticator(t, x, key.Live, clocktesting.NewFakePassiveClock(now))
}

// minted returns a live key.
func minted(t testing.TB, mods ...func(*v1alpha1.ApiKey)) (*v1alpha1.ApiKey, string) {
	t.Helper()
	return authntest.Minted(t, authntest.Format(t), key.Live, mods...)
}

// sharing gives an ApiKey the hash of another one of its organization.
func sharing(other *v1alpha1.ApiKey) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Status.Hash = other.Status.Hash
		k.Status.Hint = other.Status.Hint
		k.Spec.SecretHash = other.Spec.SecretHash
	}
}

func named(name string) func(*v1alpha1.Profile) {
	return func(p *v1alpha1.Profile) { p.Name = name }
}

func bearer(plaintext string) []string { return []string{"Bearer " + plaintext} }

// served checks that plaintext opens x, and as which ApiKey.
func served(t *testing.T, x *authn.Index, plaintext string, want *v1alpha1.ApiKey) authn.Identity {
	t.Helper()
	id, err := authenticator(t, x).Identify(bearer(plaintext))
	if err != nil {
		t.Fatalf("refused with %v, want it served as %s", err, want.Name)
	}
	if id.Key.ID() != want.UID {
		t.Fatalf("served as %s (%s), want %s (%s)", id.Key.Name(), id.Key.ID(), want.Name, want.UID)
	}
	return id
}

func refused(t *testing.T, x *authn.Index, plaintext string, want authn.Refusal) {
	t.Helper()
	switch id, err := authenticator(t, x).Identify(bearer(plaintext)); {
	case err == nil:
		t.Fatalf("served as %s (%s), want it refused as %s", id.Key.Name(), id.Key.ID(), want)
	case !errors.Is(err, want):
		t.Fatalf("refused with %v, want %v", err, want)
	}
}

func held(t *testing.T, x *authn.Index, keys, organizations, pins int) {
	t.Helper()
	gotOrganizations, gotPins := x.Held()
	if got := x.Size(); got != keys || gotOrganizations != organizations || gotPins != pins {
		t.Errorf("the index holds %d keys, %d organizations and %d pins; want %d, %d and %d",
			got, gotOrganizations, gotPins, keys, organizations, pins)
	}
}

func timeOrZero(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

func keyIDs(keys []*authn.Key) []types.UID {
	var ids []types.UID
	for _, k := range keys {
		ids = append(ids, k.ID())
	}
	return ids
}

func profileIDs(profiles []*caller.Profile) []types.UID {
	var ids []types.UID
	for _, p := range profiles {
		ids = append(ids, types.UID(p.ID))
	}
	return ids
}

func after(d time.Duration) time.Time { return authntest.Epoch.Add(d) }
