// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package authntest makes, for tests, what package authn works on: ApiKeys and Profiles as the controller leaves them,
// and an Index that holds them.
package authntest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// Epoch is when everything made here was created and minted. To the second, as everything that has been through the
// apiserver.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Where everything made here lives, unless In says otherwise.
const (
	Namespace      = "acme"
	OrganizationID = "0ac3e000-0000-4000-8000-000000000000"
)

// AllScopes is the apiserver's default of spec.scopes. Objects made here never pass an apiserver, so nobody else fills
// it in.
var AllScopes = v1alpha1.Scopes[:]

// made counts the objects, so that each has a UID, a name and a key of its own. Tests of one package run side by side,
// and share it.
var made atomic.Uint64

// Index returns an index that holds objects, each a *v1alpha1.ApiKey or a *v1alpha1.Profile, taken in in that order.
// The order can matter, as that of events does: a key may come before its Profile.
func Index(t testing.TB, objects ...any) *authn.Index {
	t.Helper()
	x := authn.NewIndex()
	for _, o := range objects {
		switch o := o.(type) {
		case *v1alpha1.ApiKey:
			x.PutKey(o)
		case *v1alpha1.Profile:
			x.PutProfile(o)
		default:
			t.Fatalf("authntest.Index: got a %T, want a *v1alpha1.ApiKey or a *v1alpha1.Profile", o)
		}
	}
	return x
}

// Format returns the format of keys with the default word. It is that of a server whose flags say nothing.
func Format(t testing.TB) key.Format {
	t.Helper()
	f, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// CommitTimeout is that of Authenticator.
const CommitTimeout = 4 * time.Second

// Authenticator returns one for x's keys of an environment, with the format of Format. It always serves, unless a mod
// says otherwise.
func Authenticator(
	t testing.TB,
	x *authn.Index,
	env key.Environment,
	clock clock.PassiveClock,
	mods ...func(*authn.Options),
) *authn.Authenticator {
	t.Helper()
	o := authn.Options{
		Index: x, Format: Format(t), Environment: env, Clock: clock,
		Serving:       func(time.Time) bool { return true },
		CommitTimeout: CommitTimeout,
	}
	for _, mod := range mods {
		mod(&o)
	}
	return authn.NewAuthenticator(o)
}

// Serving lets the Authenticator serve while serving is true. It stands for the fence, which a test opens and shuts at
// once.
func Serving(serving *atomic.Bool) func(*authn.Options) {
	return func(o *authn.Options) { o.Serving = func(time.Time) bool { return serving.Load() } }
}

// Minted returns an ApiKey with its status as the controller writes it, and the key in plaintext. The key is not pinned
// and never expires. Each call gives another key, the same ones in every run. The mods are applied in order, last. Its
// fields are those that the apiserver and the controller fill in: what reads them must not find them empty in a test
// alone.
func Minted(
	t testing.TB,
	format key.Format,
	env key.Environment,
	mods ...func(*v1alpha1.ApiKey),
) (*v1alpha1.ApiKey, string) {
	t.Helper()
	n := made.Add(1)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], n)
	plaintext, err := format.Mint(rand.NewChaCha8(seed), env)
	if err != nil {
		t.Fatal(err)
	}
	digest := key.DigestOf(plaintext)
	k := &v1alpha1.ApiKey{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ApiKey"},
		ObjectMeta: objectMeta("key", n),
		Spec: v1alpha1.ApiKeySpec{
			Environment: v1alpha1.Environment(env),
			Scopes:      append([]v1alpha1.Scope(nil), AllScopes...),
		},
		Status: v1alpha1.ApiKeyStatus{
			Hash:               unbound,
			Hint:               format.Hint(plaintext),
			OrganizationID:     OrganizationID,
			MintedAt:           &metav1.Time{Time: Epoch},
			Binding:            &v1alpha1.Binding{},
			ObservedGeneration: 1,
			Conditions: []metav1.Condition{
				condition(v1alpha1.ConditionReady, v1alpha1.ReasonActive),
				condition(v1alpha1.ConditionSecretAvailable, v1alpha1.ReasonSecretCreated),
			},
		},
	}
	for _, mod := range mods {
		mod(k)
	}
	// Last: whom the key is bound to is for the mods to say.
	if k.Status.Hash == unbound {
		k.Status.Hash = digest.BoundTo(lifecycle.OwnerOf(k, k.Status.OrganizationID)).String()
	}
	if k.Spec.SecretHash == unbound {
		k.Spec.SecretHash = k.Status.Hash
	}
	// Of a key that was brought there is no Secret that it could name.
	if k.Status.Binding != nil {
		k.Status.Binding.Name = k.SecretName()
	}
	return k, plaintext
}

// unbound stands for the hash of a key until all mods have been applied. The binding depends on the organization and on
// whether the hash was brought, which mods change.
const unbound = "unbound"

// Profile returns a Profile with its status as the controller writes it. The mods are applied in order, last. Its UID
// is another one each time, so that a second one of the same name is one that was made again.
func Profile(mods ...func(*v1alpha1.Profile)) *v1alpha1.Profile {
	n := made.Add(1)
	p := &v1alpha1.Profile{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Profile"},
		ObjectMeta: objectMeta("profile", n),
		Status: v1alpha1.ProfileStatus{
			OrganizationID:     OrganizationID,
			ObservedGeneration: 1,
			Conditions:         []metav1.Condition{condition(v1alpha1.ConditionReady, v1alpha1.ReasonActive)},
		},
	}
	for _, mod := range mods {
		mod(p)
	}
	return p
}

// objectMeta makes UIDs of one length that sort by n, so that what is ordered by UID is ordered as it was made.
func objectMeta(kind string, n uint64) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         Namespace,
		Name:              fmt.Sprintf("%s-%d", kind, n),
		UID:               types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)),
		Generation:        1,
		ResourceVersion:   fmt.Sprint(1000 + n),
		CreationTimestamp: metav1.Time{Time: Epoch},
	}
}

// condition is true; mods make it otherwise.
func condition(kind, reason string) metav1.Condition {
	return metav1.Condition{
		Type:               kind,
		Status:             metav1.ConditionTrue,
		Reason:             reason,
		ObservedGeneration: 1,
		LastTransitionTime: metav1.Time{Time: Epoch},
	}
}

// Named gives the ApiKey a name. The UID stays. Two objects of one name and two UIDs are one that was deleted and made
// again.
func Named(name string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Name = name }
}

// In puts the ApiKey into another organization. Both are given, as they differ for a namespace that was made again.
func In(namespace, organizationID string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Namespace = namespace
		k.Status.OrganizationID = organizationID
	}
}

// PinnedTo binds the ApiKey to p. By name in spec and by UID in status, as the controller writes it; the API goes by
// the UID.
func PinnedTo(p *v1alpha1.Profile) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: p.Name}
		k.Status.ProfileID = string(p.UID)
	}
}

// Scoped gives the ApiKey these scopes and no others. Names that are no scope are kept, as an older API sees those of a
// newer cluster.
func Scoped(scopes ...v1alpha1.Scope) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Spec.Scopes = scopes }
}

// Claiming gives a key these claims.
func Claiming(claims map[string]v1alpha1.ClaimValue) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Spec.Claims = claims }
}

// ExpiringAt lets the ApiKey expire at t. It is in spec and in status: the API reads the latter, which a Profile may
// have made earlier.
func ExpiringAt(t time.Time) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.ExpiresAt = &metav1.Time{Time: t}
		k.Status.ExpiresAt = &metav1.Time{Time: t}
	}
}

// CreatedAt makes the ApiKey, hash included, at t. Which of two keys with one hash is the rightful owner follows from
// these times.
func CreatedAt(t time.Time) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.CreationTimestamp = metav1.Time{Time: t}
		k.Status.MintedAt = &metav1.Time{Time: t}
	}
}

// Deleting sets the deletionTimestamp, as a deletion does that waits for a finalizer. The finalizer is for the test to
// put on: a key may also be deleted without.
func Deleting(k *v1alpha1.ApiKey) { k.DeletionTimestamp = &metav1.Time{Time: Epoch} }

// Duplicate marks the ApiKey as the controller marks one whose hash another key had first. Ready is the first condition
// of what Minted returns.
func Duplicate(k *v1alpha1.ApiKey) {
	ready := &k.Status.Conditions[0]
	ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonDuplicateHash
}

// Leaked marks the ApiKey as the controller marks one that has leaked and is not deleted.
func Leaked(k *v1alpha1.ApiKey) {
	ready := &k.Status.Conditions[0]
	ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonLeaked
}

// ByHash makes the ApiKey one that was brought by its hash: the controller has seen no plaintext. The hint is a prefix
// alone, there is no Secret, and so no condition that tells of one.
func ByHash(k *v1alpha1.ApiKey) {
	k.Spec.SecretHash = k.Status.Hash
	k.Status.Hint = strings.TrimSuffix(k.Status.Hint, key.Last4(k.Status.Hint))
	k.Status.Binding = nil
	k.Status.Conditions = k.Status.Conditions[:1]
}

// Caller returns whose key the values of an Authorization header hold: it admits a request with them that comes at now,
// and ends it at once. The error is a Refusal or authn.ErrUnavailable. It is for tests that ask who somebody is, and
// not what becomes of their request.
func Caller(a *authn.Authenticator, now time.Time, authorization []string) (*caller.Caller, error) {
	var f authn.Flight
	if err := a.Admit(context.Background(), now, authorization, &f); err != nil {
		return nil, err
	}
	return f.Caller(), f.End()
}

// Resource returns the i-th of a great many ApiKeys, as it comes from the apiserver: every string of its own. A hundred
// organizations share them. It counts nothing, so that any number of goroutines may make them.
func Resource(format key.Format, i int, plaintext string) *v1alpha1.ApiKey {
	created := metav1.NewTime(time.Unix(1_700_000_000+int64(i), 0))
	organization := i % 100
	digest, id := key.DigestOf(plaintext), fmt.Sprintf("ffffffff-0000-4000-8000-%012x", organization)
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         fmt.Sprintf("organization-%d", organization),
			Name:              fmt.Sprintf("some-backend-%d", i),
			UID:               types.UID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)),
			CreationTimestamp: created,
		},
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:]},
		Status: v1alpha1.ApiKeyStatus{
			Hash:           digest.BoundTo(key.OwnerID(id)).String(),
			Hint:           format.Hint(plaintext),
			OrganizationID: id,
			MintedAt:       &created,
		},
	}
}
