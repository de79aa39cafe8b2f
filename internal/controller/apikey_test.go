// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// anApiKey is a new one, with the status that the apiserver gives it.
func anApiKey(mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "acme", Name: "website", UID: "key-1", Generation: 1, CreationTimestamp: metav1.NewTime(born),
		},
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
		Status: v1alpha1.ApiKeyStatus{Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPending, Message: "Waiting for the controller",
		}}},
	}
	for _, mod := range mods {
		mod(k)
	}
	return k
}

func minted(k *v1alpha1.ApiKey) {
	at := metav1.NewTime(born)
	k.Status.Hash, k.Status.MintedAt = someHash.String(), &at
	k.Status.Binding = &v1alpha1.Binding{Name: k.Name}
}

func pinned(k *v1alpha1.ApiKey) { k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: "shop"} }

func bound(k *v1alpha1.ApiKey) {
	pinned(k)
	minted(k)
	k.Status.ProfileID = "profile-1"
}

func byHashOnly(k *v1alpha1.ApiKey) { k.Spec.SecretHash = someHash.String() }

// broughtAndServed is a key that was brought by its hash, and is served.
func broughtAndServed(k *v1alpha1.ApiKey) {
	byHashOnly(k)
	derive(k, findings{assigned: &assignment{hash: someHash, organizationID: "org-1"}}, now)
}

// leakedBefore makes the key one that has been told that it has leaked; what it waits for is not over yet.
func leakedBefore(k *v1alpha1.ApiKey) {
	k.Generation = 2
	derive(k, findings{leaked: true}, now)
}

// unseen makes the key one whose Secret could not be looked at.
func unseen(k *v1alpha1.ApiKey) {
	k.Generation = 2
	derive(k, findings{failure: "get Secret: no"}, now)
}

// confirmed is what revocations does when every replica refuses the key.
func confirmed(k *v1alpha1.ApiKey) {
	meta.RemoveStatusCondition(&k.Status.Conditions, v1alpha1.ConditionRevoking)
}

// waitingFor makes the key one that was told to wait for another.
func waitingFor(name string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { derive(k, findings{rival: &rival{name: name}}, now) }
}

func expiringAt(at metav1.Time) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Spec.ExpiresAt = &at }
}

func aProfile(uid string, lifetime time.Duration) *v1alpha1.Profile {
	p := &v1alpha1.Profile{}
	p.Name, p.UID = "shop", types.UID("profile-"+uid)
	if lifetime > 0 {
		p.Spec.MaxKeyLifetime = &metav1.Duration{Duration: lifetime}
	}
	return p
}
