// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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

// profilesAtOnce are looked at together, in turns: until a new one has its organization, which is a call or two, its id
// is unknown to the API, and somebody else may have applied ten thousand.
const profilesAtOnce = 4

// profiles reconciles Profiles. Nothing that it writes decides whether a key is served: that is up to the Profile's
// being there. So a count that lags behind misleads a person at most.
//
// Its organization is another matter: until that is written, the API's index shows the Profile to nobody, and who names
// it is told that there is none. So it is written with the first look, and waits for no key.
type profiles struct {
	client   client.Client // reads from the cache
	uncached client.Reader // reads from the apiserver
	status   *statusWriter
	clock    clock.PassiveClock
}

// setupProfiles makes the reconciler of Profiles. The predicate keeps it from waking itself: a write of status does not
// change the generation.
func setupProfiles(mgr manager.Manager, opts Options) error {
	r := &profiles{client: mgr.GetClient(), uncached: mgr.GetAPIReader(), clock: opts.Clock}
	r.status = &statusWriter{client: r.client, events: mgr.GetEventRecorder(Name), clock: opts.Clock}
	changed := predicate.Or(predicate.GenerationChangedPredicate{}, finalizersOfDeleted)
	return builder.ControllerManagedBy(mgr).
		For(&v1alpha1.Profile{}, builder.WithPredicates(changed)).
		Watches(&v1alpha1.ApiKey{}, recount()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: profilesAtOnce, RateLimiter: retries(), NewQueue: newTurns,
		}).
		Complete(traced(opts.Tracer, "Profile", r))
}

// finalizersOfDeleted lets through what changes whom a deleted Profile waits for.
var finalizersOfDeleted = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	return !is.GetDeletionTimestamp().IsZero() && !slices.Equal(was.GetFinalizers(), is.GetFinalizers())
}}

// Reconcile counts the keys bound to a Profile and says whose it is. It counts anew each time: a number that events
// move up and down would be wrong for good after the first one that is missed.
func (r *profiles) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	old := new(v1alpha1.Profile)
	if err := r.client.Get(ctx, req.NamespacedName, old); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	// By the UID that keys are bound to: those of an earlier Profile of this name are not this one's.
	var keys v1alpha1.ApiKeyList
	if err := r.client.List(ctx, &keys, client.InNamespace(req.Namespace),
		client.MatchingFields{byProfileID: string(old.UID)}, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list the keys of a Profile: %w", err)
	}
	updated := old.DeepCopy()
	failure := r.setOrganization(ctx, updated)
	if apierrors.IsNotFound(failure) {
		return reconcile.Result{}, nil // the namespace is gone, and the Profile with it
	}
	if _, answered := answerOf(failure); failure != nil && !answered {
		return reconcile.Result{}, failure
	}
	updated.Status.Keys = int32(min(len(keys.Items), math.MaxInt32))
	updated.Status.ObservedGeneration = old.Generation
	setCondition(&updated.Status.Conditions, old.Generation, r.clock.Now(), readyOfProfile(old, failure))
	if equality.Semantic.DeepEqual(old.Status, updated.Status) {
		return reconcile.Result{}, failure
	}
	// The resourceVersion guards the organization: a Profile of this name in a namespace made again is another one.
	err := r.status.write(ctx, old, updated)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	if err == nil {
		r.status.tell(updated, failure)
	}
	return reconcile.Result{}, errors.Join(failure, client.IgnoreNotFound(err))
}

// setOrganization says whose p is. It is written once, like an ApiKey's. Of one that is being deleted nobody asks it.
func (r *profiles) setOrganization(ctx context.Context, p *v1alpha1.Profile) (err error) {
	if p.Status.OrganizationID == "" && p.DeletionTimestamp.IsZero() {
		p.Status.OrganizationID, err = organizationID(ctx, r.uncached, p.Namespace)
	}
	return err
}

// readyOfProfile says whether keys can be pinned to p. Keys are refused as soon as their Profile begins to go, and what
// holds it then has nothing to do with them. It is pure.
func readyOfProfile(p *v1alpha1.Profile, failure error) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive,
		Message: "Keys can be pinned to this Profile",
	}
	switch {
	case !p.DeletionTimestamp.IsZero():
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonRevoking
		c.Message = "The Profile is being deleted: no key can be pinned to it any more, and those that are bound to it are " +
			"refused for good. Finalizers of others hold it: " + strings.Join(p.Finalizers, ", ")
	case failure != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonRetrying, failure.Error()+triedAgain
	}
	return c
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
