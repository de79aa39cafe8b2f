// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// A key that has leaked and stays passes the same barrier as one that is being deleted: its ApiKey says that it is
// refused, which replicas see by the watch that tells them of deletions too, and they name it until nobody awaits them.

// noteLeaks makes the LeakedKey of k's key, if that is reported, before k is let go. Whoever reports a key and deletes
// its ApiKey in the next moment is not to see it served again when GitOps, or a backup, brings it back: by then there
// would be nothing left by which the report could be proven.
func (r *revocations) noteLeaks(ctx context.Context, k *v1alpha1.ApiKey, reported []revocation.LeaseReport) error {
	for _, report := range reported {
		if !isOf(k, report.Digest) {
			continue
		}
		if leaked, err := r.keys.leaked(ctx, k); err != nil || leaked {
			return err
		}
		return r.keys.makeLeakedKey(ctx, k, leakReport{client.ObjectKeyFromObject(k), report.Digest, report.Lease})
	}
	return nil
}

// awaitsConfirmation tells whether k has leaked and stays, and the replicas have not all said that they refuse it.
func awaitsConfirmation(k *v1alpha1.ApiKey) bool {
	return k.DeletionTimestamp.IsZero() && lifecycle.KeyOf(k).Leaked &&
		meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionRevoking) != nil
}

// confirmLeaked asks whom k still waits for, and says so; or that it waits for nobody any more.
func (r *revocations) confirmLeaked(ctx context.Context, k *v1alpha1.ApiKey) (reconcile.Result, error) {
	asked := k.DeepCopy()
	asked.Annotations = nil // what it has queued is canceled when it is deleted, and not before
	verdict, err := r.ask(ctx, asked)
	if err != nil {
		return reconcile.Result{}, r.tellFailure(ctx, k, err)
	}
	if !verdict.Confirmed() {
		again := verdict.AskAgain
		if verdict.Waited < tellAfter {
			again = min(again, tellAfter-verdict.Waited)
		}
		err := r.explain(ctx, k, verdict)
		if apierrors.IsConflict(err) {
			return reconcile.Result{RequeueAfter: soon}, nil
		}
		return reconcile.Result{RequeueAfter: again}, err
	}
	// Removed first, and only then is the barrier told: a write that fails has this key asked about again, and the
	// barrier is to know since when it waits.
	updated := k.DeepCopy()
	meta.RemoveStatusCondition(&updated.Status.Conditions, v1alpha1.ConditionRevoking)
	err = r.keys.status.write(ctx, k, updated)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	r.barrier.Done(client.ObjectKeyFromObject(k))
	r.seconds.Observe(verdict.Waited.Seconds())
	r.events.Eventf(updated, nil, corev1.EventTypeNormal, v1alpha1.ReasonRevoked, "Revoke",
		"No replica accepts the leaked key any more: %d confirmed it", verdict.Replicas)
	r.nudge()
	return reconcile.Result{}, nil
}
