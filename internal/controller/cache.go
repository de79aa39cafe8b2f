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
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// slim is the transform of all that the cache takes in. It drops what no reconciler reads, and makes ApiKeys, of which
// there may be very many, share the texts that they have in common: decoding gives each of them its own.
//
// What is dropped stays on the object in the cluster. Every write is a patch of the difference between an object as it
// was read and a copy that was changed: a field that neither has is not in the patch. It follows that no reconciler may
// send such an object as it is, by Update, nor decide by a field that is dropped here. Minting, which needs the
// template of the Secret, reads the ApiKey from the apiserver.
func slim(o any) (any, error) {
	k, ok := o.(*v1alpha1.ApiKey)
	if !ok {
		return stripManagedFields(o)
	}
	k.TypeMeta = metav1.TypeMeta{} // a reader gets it from the cache anew
	k.ObjectMeta = metav1.ObjectMeta{
		// Labels, owner references and managed fields are among what is dropped. The resourceVersion stays: it is what
		// patches are conditional on.
		Name: k.Name, Namespace: intern(k.Namespace), UID: k.UID,
		ResourceVersion: k.ResourceVersion, Generation: k.Generation,
		CreationTimestamp: k.CreationTimestamp, DeletionTimestamp: k.DeletionTimestamp,
		Finalizers: internSlice(k.Finalizers, usualFinalizers), Annotations: slimAnnotations(k.Annotations),
	}
	slimSpec(&k.Spec)
	slimStatus(&k.Status)
	if k.Status.Binding != nil && k.Status.Binding.Name == k.Name {
		k.Status.Binding.Name = k.Name // one text for both
	}
	return k, nil
}

var stripManagedFields = cache.TransformStripManagedFields()

// slimAnnotations keeps those that a reconciler reads, and only if they mean something.
func slimAnnotations(annotations map[string]string) map[string]string {
	_, unconfirmed := annotations[v1alpha1.AnnotationUnconfirmed]
	cancels := v1alpha1.CancelsScheduled(annotations)
	switch {
	case cancels && unconfirmed:
		return map[string]string{
			v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled,
			v1alpha1.AnnotationUnconfirmed:     v1alpha1.Unconfirmed,
		}
	case cancels:
		return cancelScheduled
	case unconfirmed:
		return markedUnconfirmed
	}
	return nil
}

// slimSpec drops the template of the Secret: it may be several kilobytes, and is read once in a key's life. Claims are
// for those who serve the key. Keys name the same few profiles, environments and scopes, and each decoded object has a
// copy of them.
func slimSpec(s *v1alpha1.ApiKeySpec) {
	s.Environment = intern(s.Environment)
	s.Scopes = internSlice(s.Scopes, v1alpha1.Scopes[:])
	s.SecretTemplate, s.Claims = nil, nil
	if s.ProfileRef != nil {
		s.ProfileRef.Name = intern(s.ProfileRef.Name)
	}
}

// slimStatus leaves the times of the conditions as all that differs from one ordinary key to the next.
func slimStatus(s *v1alpha1.ApiKeyStatus) {
	s.OrganizationID, s.ProfileID = intern(s.OrganizationID), intern(s.ProfileID)
	s.Conditions = clip(s.Conditions)
	for i := range s.Conditions {
		c := &s.Conditions[i]
		c.Type, c.Status, c.Reason = intern(c.Type), intern(c.Status), intern(c.Reason)
		if c.Type == v1alpha1.ConditionReady {
			c.Message = intern(c.Message) // the others' messages name the key's own Secret
		}
	}
}

// What nearly all ApiKeys have alike, once for all of them, as v1alpha1.Scopes are. Nobody writes to what is in the
// cache: a reader gets a copy.
var (
	usualFinalizers = []string{v1alpha1.FinalizerRevocation}
	cancelScheduled = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled}
	// of a key that has been released; the controller puts it right at once
	markedUnconfirmed = map[string]string{v1alpha1.AnnotationUnconfirmed: v1alpha1.Unconfirmed}
)

// internSlice returns usual instead of an equal s, and s with its texts interned otherwise.
func internSlice[S ~[]E, E ~string](s, usual S) S {
	if slices.Equal(s, usual) {
		return usual
	}
	s = clip(s)
	for i := range s {
		s[i] = intern(s[i])
	}
	return s
}

// clip returns s without the room for more that decoding leaves behind it. slices.Clip would only hide that room.
// Decoding makes room ahead of what it reads, and that would be kept for as long as the key is.
func clip[S ~[]E, E any](s S) S {
	if len(s) == cap(s) {
		return s
	}
	return append(S(nil), s...)
}

// intern returns one and the same copy of a text whoever asks. unique drops it when no key has it any more.
func intern[T ~string](s T) T { return unique.Make(s).Value() }

// hashBuckets are the values of the index byHash. An index entry of its own for each key takes more memory than the key
// itself, and the cache would keep two of them, one by namespace: a bucket holds a few keys whose hashes are told apart
// by whoever looks. The seed is random, because tenants may bring hashes of their choice and must not be able to fill a
// bucket. A process may have a seed of its own: nothing that depends on it leaves the process.
type hashBuckets struct{ seed maphash.Seed }

// hashBucketCount makes a dozen keys a bucket of 100,000: few enough to compare, and many enough to save the memory.
const hashBucketCount = 1 << 13

func (b hashBuckets) of(p place) string {
	return bucketName(int(maphash.Comparable(b.seed, p) % hashBucketCount))
}

func bucketName(i int) string { return strconv.Itoa(i) }

// index adds the index byHash. The cache's own IndexField would add each value twice, by namespace and for all; but its
// List reads any index of this name and form, which are controller-runtime's own (pkg/cache/internal). Should they ever
// change there, List fails, and no key is minted: no test of this package would pass.
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
		// One that is still to be minted has none, and is in no bucket. Nor can it be in anybody's way.
		hash, err := lifecycle.WantedHash(k)
		if err != nil {
			return nil, nil
		}
		return []string{"__all_namespaces/" + b.of(placeOf(k, hash.Lookup))}, nil
	}})
}
