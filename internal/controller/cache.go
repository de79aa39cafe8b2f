// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// slim is the transform of all that the cache takes in. It drops what no reconciler reads, and makes ApiKeys, of which
// there may be very many, share the texts that they have in common: decoding gives each of them its own.
//
// What is dropped stays on the object in the cluster. Every write is a patch of the difference between an object as it
// was read and a copy that was changed: a field that neither has is not in the patch. It follows that no reconciler may
// send such an object whole, by Update, nor decide by a field that is dropped here: the minting of a Secret by a
// template reads the ApiKey live.
func slim(o any) (any, error) {
	k, ok := o.(*v1alpha1.ApiKey)
	if !ok {
		return stripManagedFields(o)
	}
	k.TypeMeta = metav1.TypeMeta{} // a reader gets it from the cache anew
	k.ObjectMeta = metav1.ObjectMeta{
		Name: k.Name, Namespace: common(k.Namespace), UID: k.UID, ResourceVersion: k.ResourceVersion, Generation: k.Generation,
		CreationTimestamp: k.CreationTimestamp, DeletionTimestamp: k.DeletionTimestamp,
		Finalizers: share(k.Finalizers, usualFinalizers), Annotations: slimAnnotations(k.Annotations),
	}
	slimSpec(&k.Spec)
	slimStatus(&k.Status)
	if k.Status.Binding != nil && k.Status.Binding.Name == k.Name {
		k.Status.Binding.Name = k.Name // one text for both
	}
	return k, nil
}

var stripManagedFields = cache.TransformStripManagedFields()

// slimAnnotations keeps the one that a reconciler reads.
func slimAnnotations(annotations map[string]string) map[string]string {
	if annotations[v1alpha1.AnnotationCancelScheduled] == v1alpha1.CancelScheduled {
		return cancelScheduled
	}
	return nil
}

func slimSpec(s *v1alpha1.ApiKeySpec) {
	s.Environment = common(s.Environment)
	s.Scopes = share(s.Scopes, allScopes)
	s.SecretTemplate = nil
	if s.ProfileRef != nil {
		s.ProfileRef.Name = common(s.ProfileRef.Name)
	}
}

func slimStatus(s *v1alpha1.ApiKeyStatus) {
	s.OrganizationID, s.ProfileID = common(s.OrganizationID), common(s.ProfileID)
	s.Conditions = exact(s.Conditions)
	for i := range s.Conditions {
		c := &s.Conditions[i]
		c.Type, c.Status, c.Reason = common(c.Type), common(c.Status), common(c.Reason)
		if c.Type == v1alpha1.ConditionReady {
			c.Message = common(c.Message) // the others' name the key's own Secret
		}
	}
}

// cancelScheduled is all that is left of annotations. Nobody writes to it either.
var cancelScheduled = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled}

// Slices that nearly all ApiKeys have. Nobody writes to what is in the cache: a reader gets a copy.
var (
	usualFinalizers = []string{v1alpha1.FinalizerRevocation}
	allScopes       = []v1alpha1.Scope{
		v1alpha1.ScopePostsRead, v1alpha1.ScopePostsWrite,
		v1alpha1.ScopeMediaRead, v1alpha1.ScopeMediaWrite,
		v1alpha1.ScopeAccountsRead, v1alpha1.ScopeAccountsWrite,
	}
)

// share returns usual instead of an equal s.
func share[S ~[]E, E ~string](s, usual S) S {
	if slices.Equal(s, usual) {
		return usual
	}
	s = exact(s)
	for i := range s {
		s[i] = common(s[i])
	}
	return s
}

// exact returns s without the room for more that decoding leaves behind it.
func exact[S ~[]E, E any](s S) S {
	if len(s) == cap(s) {
		return s
	}
	return append(S(nil), s...)
}

// common returns one and the same copy of a text whoever asks.
func common[T ~string](s T) T { return unique.Make(s).Value() }

// hashBuckets are the values of the index byHash. An index entry of its own for each key takes more memory than the key
// itself, and the cache would keep two of them, one by namespace: a bucket holds a few keys whose hashes are told apart
// by whoever looks. The seed is random, because tenants may bring hashes of their choice and must not be able to fill a
// bucket.
type hashBuckets struct{ seed maphash.Seed }

// hashBucketCount makes a dozen keys a bucket of 100,000.
const hashBucketCount = 1 << 13

// of returns the bucket of a hash.
func (b hashBuckets) of(hash string) string {
	return bucketName(int(maphash.String(b.seed, hash) % hashBucketCount))
}

func bucketName(i int) string { return strconv.Itoa(i) }

// index adds the index byHash. The cache's own IndexField would add each value twice, but its List reads any index of
// this name and form.
func (b hashBuckets) index(c cache.Cache) error {
	informer, err := c.GetInformer(context.Background(), &v1alpha1.ApiKey{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	return informer.AddIndexers(toolscache.Indexers{"field:" + byHash: func(o any) ([]string, error) {
		k, ok := o.(*v1alpha1.ApiKey)
		if !ok {
			return nil, fmt.Errorf("index: got a %T, want an ApiKey", o)
		}
		hash := hashWanted(k)
		if hash == "" {
			return nil, nil
		}
		return []string{"__all_namespaces/" + b.of(hash)}, nil
	}})
}
