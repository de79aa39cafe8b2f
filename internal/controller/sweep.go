// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// A key that has its hash is looked at when the controller starts, and from then on whenever its Secret is to be looked
// for again. A place in the queue for each, waited in from one time to the next, takes a quarter of the memory of such
// a key. So there is a sweep over the cache instead, which is never far ahead of the workers. New keys don't wait for
// it: they come by their own events, and pass what the sweep has put into the queue.

type keyQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

const (
	sweepAhead = 512 // keys in the queue: with more, the sweep waits for the workers
	sweepSteps = 256 // of one sweep, spread over its time: one pause for each bucket would be 8,192 timers
)

// exceptSwept lets through all but those keys of the first list that have their hash, which the sweep brings. Without
// it a controller that starts would have a place in the queue for every key at once.
var exceptSwept = predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool {
	return !e.IsInInitialList || e.Object.(*v1alpha1.ApiKey).Status.Hash == ""
}}

// sweep starts to put keys into the queue: all that have their hash, as fast as they are worked off, and then, over and
// over, those whose Secret is to be looked for, those whose finalizer is missing although no event said so, and those
// that have leaked, of which that may have been forgiven.
func (r *apiKeys) sweep(ctx context.Context, q keyQueue) error {
	// The source must return for the controller to start; ctx ends when it is to end.
	go func() {
		// Sources start before the cache is in step, and a sweep of half a cache would miss the other half until the next
		// one.
		if !r.synced(ctx) {
			return
		}
		// What has changed while no controller ran is found now; a finalizer that was taken off is put back.
		r.sweepOnce(ctx, q, 0, func(*v1alpha1.ApiKey) bool { return true })
		for ctx.Err() == nil {
			r.sweepOnce(ctx, q, r.SecretRecheckInterval, func(k *v1alpha1.ApiKey) bool {
				served := meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady)
				return served && k.SecretName() != "" || unprotected(k) || readyReason(k) == v1alpha1.ReasonLeaked
			})
		}
	}()
	return nil
}

// sweepOnce puts the keys that have their hash and are wanted into the queue, spread over a time more or less. It goes
// by the buckets of the index, because a list of all keys at once would be a copy of as many pointers.
func (r *apiKeys) sweepOnce(ctx context.Context, q keyQueue, over time.Duration, wanted func(*v1alpha1.ApiKey) bool) {
	for bucket := range hashBucketCount {
		// Between buckets, so that no list is kept while it waits: the queue may get longer by the keys of one bucket.
		for q.Len() > sweepAhead && retry.Pause(ctx, soon) {
		}
		if over > 0 && bucket%(hashBucketCount/sweepSteps) == 0 {
			retry.Pause(ctx, wait.Jitter(over/sweepSteps, 0.2))
		}
		if ctx.Err() != nil {
			return
		}
		var keys v1alpha1.ApiKeyList
		inBucket := client.MatchingFields{byHash: bucketName(bucket)}
		if err := r.client.List(ctx, &keys, inBucket, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list ApiKeys from the cache")
			return
		}
		for i := range keys.Items {
			// A bucket has those as well that bring a hash and wait for it: they come by their own events, and by nextLook.
			if k := &keys.Items[i]; k.Status.Hash != "" && wanted(k) {
				addLowPriority(q, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(k)})
			}
		}
	}
}

// addLowPriority adds to a queue what can wait for all else. A key that waits already keeps the higher priority that
// its event has given it.
func addLowPriority(q keyQueue, r reconcile.Request) {
	if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(handler.LowPriority)}, r)
		return
	}
	q.Add(r)
}
