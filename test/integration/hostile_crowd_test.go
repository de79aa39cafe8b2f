// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// crowd is the keys of a namespace that somebody else might have to wait behind, as a watch tells of them. How many of
// them are still waiting when a neighbour has what they asked for later says whether turns are taken, on any machine:
// how long it took says how fast the machine is.
type crowd struct {
	mu      sync.Mutex
	waiting map[string]map[types.UID]struct{} // "mint": for a key; "delete": for the end of their deletion
	lost    bool                              // the watch has ended: what is known here is of the past
}

func watchCrowd(ctx SpecContext, namespace string) *crowd {
	GinkgoHelper()
	c := &crowd{waiting: map[string]map[types.UID]struct{}{"mint": {}, "delete": {}}}
	events, err := admin.Watch(ctx, &v1alpha1.ApiKeyList{}, client.InNamespace(namespace))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(events.Stop)
	go func() {
		for event := range events.ResultChan() {
			c.see(event)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lost = true
	}()
	return c
}

func (c *crowd) see(event watch.Event) {
	k, ok := event.Object.(*v1alpha1.ApiKey)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	there, going := event.Type != watch.Deleted, !k.DeletionTimestamp.IsZero()
	for kind, waits := range map[string]bool{
		"mint": there && !going && k.Status.Hash == "",
		// Finalizers of others do not count: they are not ours to take off.
		"delete": there && going && controllerutil.ContainsFinalizer(k, v1alpha1.FinalizerRevocation),
	} {
		if waits {
			c.waiting[kind][k.UID] = struct{}{}
		} else {
			delete(c.waiting[kind], k.UID)
		}
	}
}

// now are those that wait for something.
func (c *crowd) now(kind string) []types.UID {
	if c == nil { // nobody is looked at
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.waiting[kind]))
}

// awaitNone waits until none of them waits.
func (c *crowd) awaitNone(ctx context.Context, kind string) {
	for len(c.now(kind)) > 0 && pass(ctx, interval) == nil {
		continue
	}
}

// queue is how many were waiting when somebody asked for the same as they, and how many of them still were when those
// had it.
type queue struct{ before, left int }

// behind tells what became of those that were waiting.
func (c *crowd) behind(kind string, before []types.UID) queue {
	left := 0
	for _, id := range c.now(kind) {
		if slices.Contains(before, id) {
			left++
		}
	}
	return queue{len(before), left}
}

// aCrowd is how many have to be waiting for their turns to be seen: more than the controller has at work at a time.
const aCrowd = 80

// overtaken adds up the queues that were long enough, and says in how many of them somebody came behind a crowd.
func (d *diary) overtaken(kind string) (all queue, times int) {
	for _, q := range d.queues[kind] {
		if q.before >= aCrowd {
			all, times = queue{all.before + q.before, all.left + q.left}, times+1
		}
	}
	return all, times
}

// crowdOut makes far more keys at once than can be minted, and then deletes them faster than deletions can be
// confirmed.
func (h *hostile) crowdOut(ctx context.Context, _ *mathrand.Rand) {
	const many, atOnce = 200, 16
	all := make([]*v1alpha1.ApiKey, many)
	h.inTurn(ctx, func() {
		abreast(many, atOnce, func(i int) {
			if k := apiKey(h.namespace, h.name()); h.kube.Create(ctx, k) == nil {
				all[i] = k
			}
		})
	})
	h.victim.crowd.awaitNone(ctx, "mint")
	var in atomic.Bool
	h.inTurn(ctx, func() {
		abreast(many, atOnce, func(i int) {
			if all[i] != nil && h.kube.Delete(ctx, all[i]) == nil {
				in.Store(true)
			}
		})
	})
	h.lands(crowdingOut, in.Load())
	h.victim.crowd.awaitNone(ctx, "delete")
	_ = pass(ctx, 2*time.Second)
}

// abreast does something n times, some of them at once.
func abreast(n, atOnce int, do func(int)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = group.Wait()
}
