// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// countDelay gathers what happens to a Profile's keys into one write of its count: a thousand keys that are applied at
// once would otherwise be a thousand writes of one object, most of them conflicts.
const countDelay = 300 * time.Millisecond

// profiles reconciles Profiles. Nothing that it writes decides whether a key is served: that is up to the Profile's
// being there. So a count that lags behind misleads a person at most.
type profiles struct {
	client   client.Client // reads from the cache
	uncached client.Reader // reads from the apiserver
	clock    clock.PassiveClock
}

// setupProfiles makes the reconciler of Profiles. The predicate keeps it from waking itself: a write of status does not
// change the generation.
func setupProfiles(mgr manager.Manager, opts Options) error {
	r := &profiles{client: mgr.GetClient(), uncached: mgr.GetAPIReader(), clock: opts.Clock}
	return builder.ControllerManagedBy(mgr).
		For(&v1alpha1.Profile{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.ApiKey{}, recount()).
		WithOptions(controller.Options{RateLimiter: retries()}).
		Complete(traced(opts.Tracer, "Profile", r))
}

// Reconcile counts the keys bound to a Profile and says whose it is. It counts anew each time: a number that events
// move up and down would be wrong for good after the first one that is missed.
func (r *profiles) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	old := new(v1alpha1.Profile)
	if err := r.client.Get(ctx, req.NamespacedName, old); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !old.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil // it has somebody else's finalizer; its keys are refused already
	}
	var keys v1alpha1.ApiKeyList
	if err := r.client.List(ctx, &keys, client.InNamespace(req.Namespace),
		client.MatchingFields{byProfileID: string(old.UID)}, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list the keys of a Profile: %w", err)
	}
	updated := old.DeepCopy()
	if updated.Status.OrganizationID == "" { // it is written once, like an ApiKey's
		id, err := organizationID(ctx, r.uncached, req.Namespace)
		if err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		updated.Status.OrganizationID = id
	}
	updated.Status.Keys = int32(min(len(keys.Items), math.MaxInt32))
	updated.Status.ObservedGeneration = old.Generation
	setCondition(&updated.Status.Conditions, old.Generation, r.clock.Now(), metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive,
		Message: "Keys can be pinned to this Profile",
	})
	if equality.Semantic.DeepEqual(old.Status, updated.Status) {
		return reconcile.Result{}, nil
	}
	// The resourceVersion guards the organization: a Profile of this name in a namespace made again is another one.
	patch := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
	err := r.client.Status().Patch(ctx, updated, patch, client.FieldOwner(Name))
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	return reconcile.Result{}, client.IgnoreNotFound(err)
}

// recount wakes the Profile of a key that comes, is bound, or goes. No other change of a key changes the count.
func recount() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	add := func(q queue, k *v1alpha1.ApiKey) {
		// By the name, which is what the queue has. A Profile made again under it counts the keys of its own UID: none.
		if name := profileName(k); name != "" && k.Status.ProfileID != "" {
			profile := client.ObjectKey{Namespace: k.Namespace, Name: name}
			q.AddAfter(reconcile.Request{NamespacedName: profile}, countDelay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object.(*v1alpha1.ApiKey)) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(q, e.Object.(*v1alpha1.ApiKey)) },
		// A key is bound when it gets its hash, and for good.
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.ApiKey), e.ObjectNew.(*v1alpha1.ApiKey)
			if was.Status.ProfileID != is.Status.ProfileID {
				add(q, is)
			}
		},
	}
}
