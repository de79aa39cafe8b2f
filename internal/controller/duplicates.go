// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// Within an organization a key, known by its lookup, has one rightful ApiKey, by lifecycle.Precedes: that one is
// served, and others that bring the same wait until it is gone. What other organizations bring is none of its business:
// whose a key is, its binding says.

// rival is an ApiKey that stands before another one.
type rival struct {
	name    string
	leaving bool // it is being deleted
}

// lookForRival notes who stands before the key that is looked at, if anybody does. A hash in spec that is not one is an
// error: the schema lets none through, so it is not for this to guess what was meant.
func (r *apiKeys) lookForRival(ctx context.Context, found *findings) error {
	hash, err := lifecycle.WantedHash(found.key)
	if errors.Is(err, lifecycle.ErrNoHash) {
		return nil // it is to be minted
	}
	if err == nil {
		found.rival, err = r.rivalOf(ctx, found.key, hash.Lookup)
	}
	return err
}

// rivalOf returns the ApiKey that k has to wait for, one that is there to stay before one that is not; nil: none.
func (r *apiKeys) rivalOf(ctx context.Context, k *v1alpha1.ApiKey, lookup key.Lookup) (first *rival, err error) {
	keys, err := r.at(ctx, placeOf(k, lookup))
	if err != nil {
		return nil, err
	}
	for i := range keys {
		other := &keys[i]
		// One order for all who compare, the API among them: of two keys exactly one stands before the other.
		if other.UID == k.UID || !lifecycle.Precedes(lifecycle.KeyOf(other), lifecycle.KeyOf(k)) {
			continue
		}
		contends, err := r.contends(ctx, other)
		if err != nil {
			return nil, err
		}
		// Whoever waits is told of the one that stays, if there is one: the other's going would change nothing for them.
		if leaving := !other.DeletionTimestamp.IsZero(); contends && (first == nil || first.leaving && !leaving) {
			first = &rival{other.Name, leaving}
		}
	}
	return first, nil
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

// rivalsOf maps an ApiKey to all of its organization with its lookup, itself among them: whoever has written the hash,
// this controller or another leader, may not have seen the others; and who waits for one that is gone is next. As a
// rule a key has its lookup to itself, and nobody is woken. Seeing the key with its hash also ends the reservation that
// covered the time until it could be seen.
func (r *apiKeys) rivalsOf(ctx context.Context, o client.Object) []reconcile.Request {
	k := o.(*v1alpha1.ApiKey)
	hash, err := lifecycle.WantedHash(k)
	if err != nil {
		return nil
	}
	if k.Status.Hash != "" {
		r.reserved.seen(client.ObjectKeyFromObject(k), k.UID)
	}
	rivals, err := r.at(ctx, placeOf(k, hash.Lookup))
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ApiKeys from the cache")
	}
	if !slices.ContainsFunc(rivals, func(other v1alpha1.ApiKey) bool { return other.UID != k.UID }) {
		return nil
	}
	return requestsFor(rivals)
}

// changesRivals lets through what may change the verdict on others with the same lookup. That a key is found to be a
// duplicate does not: with very many of them, each would wake all the others.
var changesRivals = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	old, updated := e.ObjectOld.(*v1alpha1.ApiKey), e.ObjectNew.(*v1alpha1.ApiKey)
	if old.Status.Hash != updated.Status.Hash || old.DeletionTimestamp.IsZero() != updated.DeletionTimestamp.IsZero() {
		return true
	}
	reason := readyReason(updated)
	return reason != readyReason(old) && reason != v1alpha1.ReasonDuplicateHash
}}

// at returns the ApiKeys in the cache that have or will have a place. They are the cache's own: nobody may change them.
// A bucket of the index holds a few other keys as well, which are dropped here.
func (r *apiKeys) at(ctx context.Context, p place) ([]v1alpha1.ApiKey, error) {
	var keys v1alpha1.ApiKeyList
	bucket := client.MatchingFields{byHash: r.buckets.of(p)}
	if err := r.client.List(ctx, &keys, bucket, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ApiKeys by hash: %w", err)
	}
	return slices.DeleteFunc(keys.Items, func(k v1alpha1.ApiKey) bool {
		hash, err := lifecycle.WantedHash(&k)
		return err != nil || placeOf(&k, hash.Lookup) != p
	}), nil
}
