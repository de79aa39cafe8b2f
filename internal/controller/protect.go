// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// protect puts the finalizer on the key, before anything is made that could be served: from then on the key can't go
// without the barrier's word. The error is a conflict if the key has changed since it was read; then it is looked at
// again.
//
// Model: step Protect.
func (r *apiKeys) protect(ctx context.Context, found *findings) error {
	if !unprotected(found.key) {
		return nil
	}
	k := found.key.DeepCopy()
	patch, err := protectPatch(k)
	if err != nil {
		return err
	}
	err = r.client.Patch(ctx, k, patch, client.FieldOwner(Name))
	if apierrors.IsNotFound(err) {
		found.gone = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("put the finalizer on: %w", err)
	}
	// As the apiserver has answered: the write of status is conditional on the resourceVersion that this patch has made.
	found.key = k
	return nil
}

// unprotected tells whether k, which is not being deleted, would go without the barrier's word: it lacks the finalizer,
// or is marked as one that may.
func unprotected(k *v1alpha1.ApiKey) bool {
	_, marked := k.Annotations[v1alpha1.AnnotationUnconfirmed]
	return marked || !controllerutil.ContainsFinalizer(k, v1alpha1.FinalizerRevocation)
}

// protectPatch is the merge patch that puts the finalizer on k and takes the mark off. It writes the whole list of
// finalizers: without the resourceVersion it would take off one that somebody else has put on since. It is not made of
// the difference to k, because the cache has left nearly all annotations out of it.
func protectPatch(k *v1alpha1.ApiKey) (client.Patch, error) {
	controllerutil.AddFinalizer(k, v1alpha1.FinalizerRevocation)
	delete(k.Annotations, v1alpha1.AnnotationUnconfirmed)
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": k.ResourceVersion,
		"finalizers":      k.Finalizers,
		"annotations":     map[string]any{v1alpha1.AnnotationUnconfirmed: nil},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	return client.RawPatch(types.MergePatchType, body), nil
}
