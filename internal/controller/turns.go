// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// turns is a queue in which namespaces take turns: the more of its keys wait, the later comes the next one. Whoever
// creates or deletes ten thousand keys at once waits for them, and nobody else does. In a queue by time alone, a key of
// another organization would be minted, or be gone, after all of them.
type turns struct {
	priorityqueue.PriorityQueue[reconcile.Request]

	// Of waiting alone: the queue below has locks of its own, and is called without this one.
	mu      sync.Mutex
	waiting map[lane]map[reconcile.Request]struct{}
}

// lane is where a namespace's keys wait for each other. What has been looked at in vain, what the sweep brings and what
// a controller finds when it starts waits behind all else (handler.LowPriority), in turns of its own.
type lane struct {
	namespace string
	low       bool
}

const (
	// An app's deployment brings a few keys at once, and is not to wait for that.
	perTurn = 4 // keys of a namespace that wait side by side with those of any other
	// lastTurn is still before what has handler.LowPriority, which is -100.
	lastTurn = 90
)

// newTurns makes the queue of a controller.
func newTurns(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) keyQueue {
	return &turns{
		PriorityQueue: priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter }),
		waiting:       map[lane]map[reconcile.Request]struct{}{},
	}
}

// AddWithOpts adds requests, each at its namespace's turn.
func (q *turns) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	for _, r := range requests {
		own, first := o, 0
		low := ptr.Deref(o.Priority, 0) <= handler.LowPriority
		if low {
			first = *o.Priority
		}
		own.Priority = ptr.To(first - q.turnOf(r, low))
		q.PriorityQueue.AddWithOpts(own, r)
	}
}

// turnOf counts a request among those that wait, and says how many turns it has to wait for. One that is added again is
// counted once, and the queue keeps the higher of its two priorities.
func (q *turns) turnOf(r reconcile.Request, low bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	its := q.waiting[lane{r.Namespace, low}]
	if its == nil {
		its = map[reconcile.Request]struct{}{}
		q.waiting[lane{r.Namespace, low}] = its
	}
	its[r] = struct{}{}
	// From the 361st on they share the last turn, and are in it as they came.
	return min((len(its)-1)/perTurn, lastTurn)
}

// GetWithPriority waits for the next request. With it the request stops counting, even while it is worked on: what
// waits is what makes others' turns later.
func (q *turns) GetWithPriority() (r reconcile.Request, priority int, shutdown bool) {
	r, priority, shutdown = q.PriorityQueue.GetWithPriority()
	q.mu.Lock()
	defer q.mu.Unlock()
	// It may be in both lanes: the sweep has brought it, and then an event. The queue below has it once.
	for _, low := range []bool{false, true} {
		l := lane{r.Namespace, low}
		delete(q.waiting[l], r)
		if len(q.waiting[l]) == 0 {
			delete(q.waiting, l)
		}
	}
	return r, priority, shutdown
}

// Get, Add, AddAfter and AddRateLimited are those above, by the names that client-go has for them.

// Get waits for the next request.
func (q *turns) Get() (r reconcile.Request, shutdown bool) {
	r, _, shutdown = q.GetWithPriority()
	return r, shutdown
}

// Add adds a request.
func (q *turns) Add(r reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, r) }

// AddAfter adds a request once that time has passed. It counts as waiting from now on: a namespace of which many keys
// are to be looked at again has its turns later for as long.
func (q *turns) AddAfter(r reconcile.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, r)
}

// AddRateLimited adds a request once the limiter says so.
func (q *turns) AddRateLimited(r reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, r)
}
