// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// newTurnQueue returns a queue in which namespaces take turns: somebody else's ten thousand objects are one turn.
func newTurnQueue(
	name string, limiter workqueue.TypedRateLimiter[reconcile.Request],
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	type request = reconcile.Request
	inTurns := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[request]{
		Name: name, Queue: &turns{waiting: map[string][]request{}},
	})
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[request]{
		Name: name, Queue: inTurns,
	})
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[request]{
		Name: name, DelayingQueue: delaying,
	})
}

// turns is the order of such a queue: first come, first served within a namespace, and one of each namespace after the
// other. workqueue calls it with its lock held.
type turns struct {
	waiting map[string][]reconcile.Request // by namespace; none is empty
	next    []string                       // the namespaces in waiting; whose turn it is comes first
	length  int
}

// Touch is called with what waits already: it keeps its place.
func (*turns) Touch(reconcile.Request) {}

// Push adds what does not wait yet.
func (t *turns) Push(r reconcile.Request) {
	if len(t.waiting[r.Namespace]) == 0 {
		t.next = append(t.next, r.Namespace)
	}
	t.waiting[r.Namespace] = append(t.waiting[r.Namespace], r)
	t.length++
}

// Len is how many wait.
func (t *turns) Len() int { return t.length }

// Pop takes the one whose turn it is. There is one.
func (t *turns) Pop() reconcile.Request {
	namespace := t.next[0]
	t.next = t.next[1:]
	r, rest := t.waiting[namespace][0], t.waiting[namespace][1:]
	if len(rest) == 0 {
		delete(t.waiting, namespace)
	} else {
		t.waiting[namespace] = rest
		t.next = append(t.next, namespace)
	}
	t.length--
	return r
}
