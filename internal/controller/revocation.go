// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/revocation"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

const (
	// revocationsAtOnce is the number of deletions looked at together. They wait for a list of Leases, which they share:
	// many at once cost hardly more than one.
	revocationsAtOnce = 32
	// tellAfter is how long a deletion waits before its status says so. Most are over long before, and a write of status
	// for each would double what a deletion costs.
	tellAfter = time.Second
	// nudgesApart is the least time between two looks at what replicas are to be told.
	nudgesApart = 100 * time.Millisecond
	// sweepEvery is how often the Leases of crashed replicas are looked for.
	sweepEvery = time.Minute
)

// revocations lets deleted ApiKeys go when no API replica accepts them any more. It asks the barrier who still may, and
// decides nothing itself.
type revocations struct {
	client  client.Client // reads from the cache
	events  events.EventRecorder
	barrier *revocation.Barrier
	keys    *apiKeys // the other reconciler of ApiKeys, for those that have leaked, and for what writes status
	clock   clock.PassiveClock
	seconds prometheus.Histogram
	audit   auditor
	lifted  lifted
	nudged  chan struct{} // has been sent to when the replicas may have to be told something
}

// setupRevocations makes the reconciler of deletions, which Leases wake as well, and the barrier that it asks. The
// barrier's memory begins here: after a change of leader it counts no replica out before it has watched it for as long
// as its Lease lasts.
func setupRevocations(mgr manager.Manager, opts Options, keys *apiKeys) error {
	leases, err := coordinationclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a client of Leases: %w", err)
	}
	r := &revocations{
		client:  mgr.GetClient(),
		events:  mgr.GetEventRecorder(Name),
		barrier: revocation.NewBarrier(leases.Leases(opts.Namespace), opts.Clock),
		keys:    keys,
		clock:   opts.Clock,
		audit:   auditor{opts.Audit},
		nudged:  make(chan struct{}, 1),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lmp_revocation_seconds",
			Help: "Time from seeing that an ApiKey is being deleted until every API replica " +
				"has confirmed that it refuses the key.",
			// From a watch that is in step to a Lease of 60 s that expires.
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80},
		}),
	}
	if opts.Registerer != nil {
		if err := opts.Registerer.Register(r.seconds); err != nil {
			return fmt.Errorf("register lmp_revocation_seconds: %w", err)
		}
		if err := opts.Registerer.Register(replicaCollector{r.barrier}); err != nil {
			return fmt.Errorf("register lmp_replicas: %w", err)
		}
	}
	if err := mgr.Add(manager.RunnableFunc(r.sweep)); err != nil {
		return fmt.Errorf("add the sweep of Leases: %w", err)
	}
	if err := mgr.Add(manager.RunnableFunc(r.tellReplicas)); err != nil {
		return fmt.Errorf("add what tells the replicas: %w", err)
	}
	// A queue of its own, apart from the one of apiKeys: a deletion must not wait behind a sweep over all keys.
	return builder.ControllerManagedBy(mgr).
		Named("revocation").
		For(&v1alpha1.ApiKey{}, builder.WithPredicates(beingDeleted)).
		Watches(&v1alpha1.ApiKey{}, handler.Funcs{DeleteFunc: r.gone}).
		Watches(&coordinationv1.Lease{}, r.leaseHandler()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: revocationsAtOnce, RateLimiter: retries(), NewQueue: newTurns,
		}).
		Complete(traced(opts.Tracer, "revocation", r))
}

// Reconcile takes the finalizer off one ApiKey that is being deleted, or says whom that waits for.
//
// Model: step Revoke.
func (r *revocations) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := new(v1alpha1.ApiKey)
	if err := r.client.Get(ctx, req.NamespacedName, k); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("get ApiKey: %w", err)
	}
	if awaitsConfirmation(k) {
		return r.confirmLeaked(ctx, k)
	}
	// One that is gone leaves k empty, and one that was made anew is not being deleted: nobody waits for either. The cache
	// may be behind here too. To go on waiting for nobody would hold a place on every Lease; to stop waiting for somebody
	// does no harm, as the finalizer stays on until the barrier is asked again.
	if k.DeletionTimestamp.IsZero() || !controllerutil.ContainsFinalizer(k, v1alpha1.FinalizerRevocation) {
		r.barrier.Done(req.NamespacedName)
		r.nudge() // takes off the Leases what was awaited for it
		return reconcile.Result{}, r.tellHeld(ctx, k)
	}
	// The barrier reads the Leases from the apiserver, after the deletion: a cache could lack a replica that has just
	// started.
	verdict, err := r.ask(ctx, k)
	if err != nil {
		return reconcile.Result{}, r.tellFailure(ctx, k, err)
	}
	if verdict.Confirmed() {
		return r.letGo(ctx, k, verdict)
	}
	// An answer also comes by the Leases' events. This is for what no event tells: that a Lease has expired.
	again := verdict.AskAgain
	if verdict.Waited < tellAfter {
		// Otherwise users would be told only when the barrier is to be asked again, which may be later.
		again = min(again, tellAfter-verdict.Waited)
	}
	err = r.explain(ctx, k, verdict)
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil // the cache was behind
	}
	return reconcile.Result{RequeueAfter: again}, err
}

// letGo takes the finalizer off k, whose revocation is confirmed.
//
// Model: step LetGo.
func (r *revocations) letGo(
	ctx context.Context, k *v1alpha1.ApiKey, verdict revocation.Verdict,
) (reconcile.Result, error) {
	if err := r.noteLeaks(ctx, k, verdict.Reported); err != nil {
		return reconcile.Result{}, r.tellFailure(ctx, k, err)
	}
	err := r.lift(ctx, k, verdict)
	// That the cache was behind is over in a moment. A policy may refuse with Invalid as well, and that lasts.
	if apierrors.IsConflict(err) || apierrors.IsInvalid(err) && verdict.Waited < tellAfter {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	if err != nil {
		err = r.tellFailure(ctx, k, err)
	}
	return reconcile.Result{}, err
}

// ask asks the barrier whom the deletion of k waits for.
func (r *revocations) ask(ctx context.Context, k *v1alpha1.ApiKey) (revocation.Verdict, error) {
	ctx, span := tracing.Child(ctx, "ask the replicas")
	verdict, err := r.barrier.Ask(ctx, k)
	span.SetAttributes(
		attribute.Int("lmp.replicas", verdict.Replicas),
		attribute.Int("lmp.replicas.awaited", len(verdict.Awaited)),
	)
	tracing.End(span, err)
	return verdict, err
}

// explain tells the replicas that they are awaited, and users whom their deletion waits for.
func (r *revocations) explain(ctx context.Context, k *v1alpha1.ApiKey, v revocation.Verdict) error {
	r.nudge()
	if len(v.Awaited) > 0 && v.Waited < tellAfter {
		return nil // that none is awaited any more is told at once: replicas cancel what is queued by it
	}
	updated := k.DeepCopy()
	deriveRevoking(updated, v, r.clock.Now())
	if equality.Semantic.DeepEqual(k.Status, updated.Status) {
		return nil
	}
	if err := r.keys.status.write(ctx, k, updated); err != nil {
		return client.IgnoreNotFound(err)
	}
	waited := v.Waited.Round(time.Millisecond).String()
	ctrl.LoggerFrom(ctx).Info("Revocation waits", "awaited", v.Awaited, "waited", waited)
	kind := corev1.EventTypeWarning
	if v.Waited < tellAfter {
		kind = corev1.EventTypeNormal
	}
	r.events.Eventf(updated, nil, kind, awaitingReason(v), "Revoke", "%s", v.Message())
	return nil
}

// tellFailure says in the status of k what keeps its deletion from being confirmed, if that is an answer of the
// apiserver. It returns the error, with which the deletion is tried again.
func (r *revocations) tellFailure(ctx context.Context, k *v1alpha1.ApiKey, failure error) error {
	text, answered := answerOf(failure)
	if !answered {
		return failure
	}
	updated := k.DeepCopy()
	setRevoking(updated, r.clock.Now(), v1alpha1.ReasonRetrying, text+triedAgain)
	if equality.Semantic.DeepEqual(k.Status, updated.Status) {
		return failure
	}
	if err := r.keys.status.write(ctx, k, updated); err != nil {
		return errors.Join(failure, client.IgnoreNotFound(err))
	}
	r.events.Eventf(updated, nil, corev1.EventTypeWarning, v1alpha1.ReasonRetrying, "Revoke", "%s",
		meta.FindStatusCondition(updated.Status.Conditions, v1alpha1.ConditionRevoking).Message)
	return failure
}

// deriveRevoking makes k's conditions of a verdict. It is pure. Ready is False from the first time that a deletion is
// told of, even while no replica has confirmed it: the key is refused by all that have seen the deletion.
func deriveRevoking(k *v1alpha1.ApiKey, v revocation.Verdict, now time.Time) {
	setRevoking(k, now, awaitingReason(v), v.Message())
}

// setRevoking says that k is being deleted, or has leaked, and what that waits for.
func setRevoking(k *v1alpha1.ApiKey, now time.Time, reason, message string) {
	k.Status.ObservedGeneration = k.Generation
	if !k.DeletionTimestamp.IsZero() { // otherwise it has leaked, and Ready says so
		setCondition(&k.Status.Conditions, k.Generation, now, metav1.Condition{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRevoking,
			Message: "The key is being deleted",
		})
	}
	setCondition(&k.Status.Conditions, k.Generation, now, metav1.Condition{
		Type: v1alpha1.ConditionRevoking, Status: metav1.ConditionTrue, Reason: reason, Message: message,
	})
}

// awaitingReason is the verdict's message as a condition's reason. Replicas come first: what is queued can only be
// canceled when no replica queues any more.
func awaitingReason(v revocation.Verdict) string {
	if len(v.Awaited) == 0 {
		return v1alpha1.ReasonAwaitingCancellation
	}
	return v1alpha1.ReasonAwaitingReplicas
}

// beingDeleted lets through ApiKeys that are being deleted, or have leaked and await that this is confirmed, and of
// their changes those that may end the deletion: of the finalizers, and of the annotation that has it wait for a
// cancellation. What else changes is status, by this controller itself.
var beingDeleted = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool {
		return !e.Object.GetDeletionTimestamp().IsZero() || awaitsConfirmation(e.Object.(*v1alpha1.ApiKey))
	},
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld, e.ObjectNew
		if awaitsConfirmation(is.(*v1alpha1.ApiKey)) != awaitsConfirmation(was.(*v1alpha1.ApiKey)) {
			return true
		}
		return !is.GetDeletionTimestamp().IsZero() && (was.GetDeletionTimestamp().IsZero() ||
			!slices.Equal(was.GetFinalizers(), is.GetFinalizers()) ||
			v1alpha1.CancelsScheduled(was.GetAnnotations()) != v1alpha1.CancelsScheduled(is.GetAnnotations()))
	},
}

// leaseHandler wakes the deletions for which a change of a replica's Lease may have been the last confirmation. Waking
// is all that it does: the barrier decides by a list that it then asks for.
func (r *revocations) leaseHandler() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	wake := func(q queue, names []types.NamespacedName) {
		for _, name := range names {
			q.Add(reconcile.Request{NamespacedName: name})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			wake(q, r.barrier.Observe(e.Object.(*coordinationv1.Lease)))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			wake(q, r.barrier.Observe(e.ObjectNew.(*coordinationv1.Lease)))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			wake(q, r.barrier.Forget(e.Object.GetName()))
		},
	}
}

// nudge has the replicas told what is awaited of them, or that nothing is any more. It never waits: one that is pending
// covers all that happened until it is looked at.
func (r *revocations) nudge() {
	select {
	case r.nudged <- struct{}{}:
	default: // it has been sent to already, and not looked at yet
	}
}

// tellReplicas does what nudge asks for, for as long as this process leads. It looks at all that waits, so it is not
// for each of a thousand deletions to do. A replica that can't be told is tried again with the next question.
func (r *revocations) tellReplicas(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.nudged:
		}
		if err := r.barrier.Nudge(ctx); err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "A replica could not be told what is awaited")
		}
		// After the look and not before it, so that the first deletion is told of at once.
		retry.Pause(ctx, nudgesApart)
	}
}

// sweep deletes the Leases of crashed replicas, for as long as this process leads. A failure is not fatal: they are in
// nobody's way. A runnable that ends with an error would end the process, and deletions with it.
func (r *revocations) sweep(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := r.barrier.Sweep(ctx); err != nil && ctx.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "The Leases of crashed replicas could not be swept; trying again",
				"in", sweepEvery.String())
		}
	}, sweepEvery)
	return nil
}
