// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// claims are the hashes being given right now. They cover the time between a write to the apiserver and its coming back
// through the cache, in which two workers could give one hash to two keys.
type claims struct {
	mu     sync.Mutex
	byHash map[key.Hash]claim
	byName map[types.NamespacedName]key.Hash
}

type claim struct {
	name types.NamespacedName
	uid  types.UID
}

func newClaims() *claims {
	return &claims{byHash: map[key.Hash]claim{}, byName: map[types.NamespacedName]key.Hash{}}
}

// take claims hash for a key; it returns false if another key has claimed it. A claim of the key's own name is given
// up: it is an earlier try of this key, or one of an ApiKey that has been deleted and made again since.
func (c *claims) take(hash key.Hash, by claim) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if holder, ok := c.byHash[hash]; ok && holder.name != by.name {
		return false
	}
	if earlier, ok := c.byName[by.name]; ok {
		c.drop(by.name, earlier)
	}
	c.byHash[hash] = by
	c.byName[by.name] = hash
	return true
}

// settle ends the claim of a key whose hash the cache shows by now.
func (c *claims) settle(name types.NamespacedName, uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hash, ok := c.byName[name]; ok && c.byHash[hash].uid == uid {
		c.drop(name, hash)
	}
}

// release ends the claim of a key that is gone.
func (c *claims) release(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hash, ok := c.byName[name]; ok {
		c.drop(name, hash)
	}
}

func (c *claims) drop(name types.NamespacedName, hash key.Hash) {
	delete(c.byName, name)
	if c.byHash[hash].name == name {
		delete(c.byHash, hash)
	}
}

// hasRival tells whether hash belongs to another key rather than to k. Which one is not said to anybody: it may be
// another organization's.
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
	return !r.claims.take(hash, claim{name: client.ObjectKeyFromObject(k), uid: k.UID}), nil
}

// contends tells whether a key has its hash, or is about to be given it. One that cannot be has no say.
func (r *apiKeys) contends(ctx context.Context, k *v1alpha1.ApiKey) (bool, error) {
	life := lifecycle.KeyOf(k)
	if life.Duplicate || life.Hashed {
		return !life.Duplicate, nil
	}
	profile, err := profileOf(ctx, r.client, k)
	if err != nil {
		return false, err
	}
	return lifecycle.Of(life, lifecycle.ProfileOf(profile), r.Clock.Now()).Reason == v1alpha1.ReasonPending, nil
}

// rivalsOf maps an ApiKey to all that have its hash, itself among them: whoever has given it, this controller or
// another leader, may not have known of the rest. As a rule it has its hash to itself, and nobody is woken. Seeing the
// key with its hash also ends the claim that covered the time until it could be seen.
func (r *apiKeys) rivalsOf(ctx context.Context, o client.Object) []reconcile.Request {
	k := o.(*v1alpha1.ApiKey)
	hash := hashWanted(k)
	if hash == "" {
		return nil
	}
	if k.Status.Hash != "" {
		r.claims.settle(client.ObjectKeyFromObject(k), k.UID)
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
// them.
func (r *apiKeys) withHash(ctx context.Context, hash string) ([]v1alpha1.ApiKey, error) {
	var keys v1alpha1.ApiKeyList
	if err := r.client.List(ctx, &keys, client.MatchingFields{byHash: r.buckets.of(hash)}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ApiKeys by hash: %w", err)
	}
	return slices.DeleteFunc(keys.Items, func(k v1alpha1.ApiKey) bool { return hashWanted(&k) != hash }), nil
}
