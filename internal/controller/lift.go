// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// lift takes the finalizer off: the barrier has confirmed that no replica accepts the key.
//
// If others hold the ApiKey, its status says so first: from the moment that the finalizer is off, nothing but that
// status tells whether the revocation was confirmed.
//
// Model: step Lift.
func (r *revocations) lift(ctx context.Context, k *v1alpha1.ApiKey, v revocation.Verdict) (err error) {
	ctx, span := tracing.Child(ctx, "confirm the revocation")
	defer func() { tracing.End(span, err) }()
	k = k.DeepCopy()
	// A crash after this write leaves a status that is true already, with a finalizer that the next reconcile takes off.
	if others := othersFinalizers(k); len(others) > 0 {
		if err := r.writeRevoked(ctx, k, others); err != nil {
			return err
		}
	}
	patch, err := liftPatch(k)
	if err != nil {
		return err
	}
	r.lifted.add(k.UID) // before the patch: the event that the key is gone may come before the answer
	// Patch overwrites what it is given with the answer, which is empty for an object that is gone: the events want it
	// as it was.
	err = r.client.Patch(ctx, k.DeepCopy(), patch, client.FieldOwner(Name))
	// Nothing was taken off. Of any other error that is not known, and then the entry stays: to keep silent about a
	// deletion that was confirmed, as this one was, is right in either case.
	if apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
		r.lifted.take(k.UID)
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("take the finalizer off: %w", err)
	}
	// Only now: until the finalizer is off, a failure has this key asked for again, and the barrier is to know since when
	// it waits.
	r.barrier.Done(client.ObjectKeyFromObject(k))
	if err == nil { // and not for one that was gone already: its revocation has been counted
		r.seconds.Observe(v.Waited.Seconds())
		r.audit.revoked(k, v, r.clock.Now())
		r.events.Eventf(k, nil, corev1.EventTypeNormal, "Revoked", "Revoke",
			"No replica accepts the key any more: %d confirmed it", v.Replicas)
	}
	r.nudge()
	return nil
}

// liftPatch takes the finalizer off k, which has it, and off no other ApiKey of that name; the finalizers of others
// stay. Whoever creates an ApiKey may list one finalizer any number of times: with one of them left the ApiKey would
// stay for ever, and hold a place on every Lease. So all of them go at once.
//
// It is a JSON patch (RFC 6902), whose tests guard what counts and nothing else: with the resourceVersion instead every
// change of a label would be a conflict. If a test fails, the apiserver answers Invalid.
func liftPatch(k *v1alpha1.ApiKey) (client.Patch, error) {
	const uid, finalizers = "/metadata/uid", "/metadata/finalizers"
	type op struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	patch, err := json.Marshal([]op{
		{"test", uid, k.UID},
		{"test", finalizers, k.Finalizers},
		{"replace", finalizers, othersFinalizers(k)},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	return client.RawPatch(types.JSONPatchType, patch), nil
}

// othersFinalizers are those of k that are not this controller's. It is never nil, so that a patch writes an empty list
// and not null.
func othersFinalizers(k *v1alpha1.ApiKey) []string {
	isOurs := func(f string) bool { return f == v1alpha1.FinalizerRevocation }
	return slices.DeleteFunc(append([]string{}, k.Finalizers...), isOurs)
}
