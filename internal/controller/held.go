// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// What becomes of a deleted ApiKey without this controller's finalizer: it is gone, or finalizers of others hold it.
// Either may be because its revocation was confirmed, or because somebody else took the finalizer off. The second is
// never passed over in silence.

// writeRevoked says in the status of k, whose revocation is confirmed, that others hold it. k gets the answer.
func (r *revocations) writeRevoked(ctx context.Context, k *v1alpha1.ApiKey, others []string) error {
	updated := k.DeepCopy()
	deriveHeld(updated, v1alpha1.ReasonRevoked, "No API replica accepts the key any more", others, r.clock.Now())
	if equality.Semantic.DeepEqual(k.Status, updated.Status) {
		return nil
	}
	if err := r.keys.status.write(ctx, k, updated); client.IgnoreNotFound(err) != nil {
		return err
	}
	updated.DeepCopyInto(k)
	return nil
}

// tellHeld keeps the status of a deleted ApiKey true that has no finalizer of ours any more. One that is gone, or is
// not being deleted, is none of its business. A tool that waits with kubectl delete has to see why its ApiKey is still
// there although the key is not.
func (r *revocations) tellHeld(ctx context.Context, k *v1alpha1.ApiKey) error {
	others := othersFinalizers(k)
	if k.DeletionTimestamp.IsZero() || len(others) == 0 {
		return nil
	}
	reason, what := v1alpha1.ReasonRevoked, "No API replica accepts the key any more"
	if k.Status.Hash == "" {
		what = "The key has never existed: it was deleted first"
	} else if !r.confirmed(k) {
		reason = v1alpha1.ReasonUnconfirmed
		what = "The key is being deleted, and somebody took the finalizer " + v1alpha1.FinalizerRevocation +
			" off: when the last API replica has refused it was not confirmed"
	}
	was := readyReason(k)
	updated := k.DeepCopy()
	deriveHeld(updated, reason, what, others, r.clock.Now())
	if equality.Semantic.DeepEqual(k.Status, updated.Status) {
		return nil
	}
	err := r.keys.status.write(ctx, k, updated)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the event that makes it so is on its way
	}
	if err != nil {
		return err
	}
	if reason == v1alpha1.ReasonUnconfirmed && was != reason {
		r.tellUnconfirmed(updated)
	}
	return nil
}

// deriveHeld makes the status of a deleted ApiKey that finalizers of others hold. It is pure.
func deriveHeld(k *v1alpha1.ApiKey, reason, what string, others []string, now time.Time) {
	k.Status.ObservedGeneration = k.Generation
	setCondition(&k.Status.Conditions, k.Generation, now, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason,
		Message: what + ". Finalizers of others hold the ApiKey: " + strings.Join(others, ", "),
	})
	// Both are about what is over.
	meta.RemoveStatusCondition(&k.Status.Conditions, v1alpha1.ConditionRevoking)
	meta.RemoveStatusCondition(&k.Status.Conditions, v1alpha1.ConditionStalled)
}

// confirmed tells whether the revocation of k, which has no finalizer of ours any more, was confirmed. Either by what
// the status says, which survives a restart, or by what this process remembers: a status is written only if others hold
// the ApiKey.
func (r *revocations) confirmed(k *v1alpha1.ApiKey) bool {
	return readyReason(k) == v1alpha1.ReasonRevoked || r.lifted.has(k.UID)
}

func readyReason(k *v1alpha1.ApiKey) string {
	if ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// gone takes in that an ApiKey is gone. If nobody here has confirmed its revocation, that is told. What was told of
// before by tellHeld, as its condition shows, is not told of again.
func (r *revocations) gone(
	_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request],
) {
	k := e.Object.(*v1alpha1.ApiKey)
	confirmed := r.confirmed(k)
	// After the question, which goes by it.
	r.lifted.take(k.UID)
	if k.Status.Hash != "" && !confirmed && readyReason(k) != v1alpha1.ReasonUnconfirmed {
		r.tellUnconfirmed(k)
	}
	// By the queue, so that the barrier is told by the one goroutine that asks it about this key.
	q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(k)}) // nobody waits for it any more
}

// tellUnconfirmed tells operators and users that a key was deleted past the barrier.
func (r *revocations) tellUnconfirmed(k *v1alpha1.ApiKey) {
	r.audit.unconfirmed(k, r.clock.Now())
	r.events.Eventf(k, nil, corev1.EventTypeWarning, v1alpha1.ReasonUnconfirmed, "Revoke",
		"The ApiKey was deleted without its finalizer: when the last API replica has refused the key was not confirmed")
}

// lifted are the ApiKeys whose finalizer this process has taken off, and that it has not seen gone. An entry lives from
// the patch until the event of the deletion, so there are as many as deletions under way. After a crash in between,
// nobody saw the key go, and nobody is told of it.
type lifted struct {
	mu   sync.Mutex
	keys map[types.UID]struct{}
}

func (l *lifted) add(id types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[types.UID]struct{}{}
	}
	l.keys[id] = struct{}{}
}

func (l *lifted) has(id types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.keys[id]
	return ok
}

func (l *lifted) take(id types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, id)
}
