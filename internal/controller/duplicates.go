// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// A hash has one rightful owner, by lifecycle.Precedes. Tenants may bring hashes of their choice, so two ApiKeys, even
// of two organizations, may want one: the owner is served, the others are duplicates for good.

// hasRival tells whether the rightful owner of hash is another key than k. Which one it is, is not said to anybody: it
// may be another organization's.
func (r *apiKeys) hasRival(ctx context.Context, k *v1alpha1.ApiKey, hash key.Hash) (bool, error) {
	keys, err := r.withHash(ctx, hash.String())
	if err != nil {
		return false, err
	}
	for i := range keys {
		other := &keys[i]
		if other.UID == k.UID || !lifecycle.Precedes(lifecycle.KeyOf(other), lifecycle.KeyOf(k)) {
			continue
		}
		if contends, err := r.contends(ctx, other); err != nil || contends {
			return contends, err
		}
	}
	if k.Status.Hash != "" {
		return false, nil
	}
	return !r.reserved.reserve(hash, holder{name: client.ObjectKeyFromObject(k), uid: k.UID}), nil
}

// contends tells whether a key has its hash, or is about to get it. One that can't get it, because it has expired or
// its Profile is missing, keeps nobody from it: it might stay like that for ever.
func (r *apiKeys) contends(ctx context.Context, k *v1alpha1.ApiKey) (bool, error) {
	life := lifecycle.KeyOf(k)
	if life.Duplicate || life.Hashed {
		return !life.Duplicate, nil
	}
	profile, err := getProfile(ctx, r.client, k)
	if err != nil {
		return false, err
	}
	return lifecycle.Of(life, lifecycle.ProfileOf(profile), r.Clock.Now()).Reason == v1alpha1.ReasonPending, nil
}

// rivalsOf maps an ApiKey to all that have its hash, itself among them: whoever has written the hash, this controller
// or another leader, may not have seen the others. As a rule a key has its hash to itself, and nobody is woken. Seeing
// the key with its hash also ends the reservation that covered the time until it could be seen.
func (r *apiKeys) rivalsOf(ctx context.Context, o client.Object) []reconcile.Request {
	k := o.(*v1alpha1.ApiKey)
	hash := hashWanted(k)
	if hash == "" {
		return nil
	}
	if k.Status.Hash != "" {
		r.reserved.seen(client.ObjectKeyFromObject(k), k.UID)
	}
	rivals, err := r.withHash(ctx, hash)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ApiKeys from the cache")
	}
	if len(rivals) < 2 {
		return nil
	}
	return requestsFor(rivals)
}

// withHash returns the ApiKeys in the cache that have or will have a hash. They are the cache's own: nobody may change
// them. A bucket of the index holds a few other keys as well, which are dropped here.
func (r *apiKeys) withHash(ctx context.Context, hash string) ([]v1alpha1.ApiKey, error) {
	var keys v1alpha1.ApiKeyList
	bucket := client.MatchingFields{byHash: r.buckets.of(hash)}
	if err := r.client.List(ctx, &keys, bucket, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ApiKeys by hash: %w", err)
	}
	return slices.DeleteFunc(keys.Items, func(k v1alpha1.ApiKey) bool { return hashWanted(&k) != hash }), nil
}

// hashWanted is the hash that k has or, if it brings its own, will have.
func hashWanted(k *v1alpha1.ApiKey) string {
	if k.Status.Hash != "" {
		return k.Status.Hash
	}
	return k.Spec.SecretHash
}
