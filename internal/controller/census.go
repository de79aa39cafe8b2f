// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"container/list"
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// census counts the keys of each namespace that have their hash, and those that are being given it, so that no
// namespace gets more than its quota. It is kept by the events of the cache and not by lists: to list a namespace for
// each key of it would take as long as the square of their number.
//
// It lives in this process alone. Two leaders that overlap may each give the last places away; the API has room for
// that (lifecycle.KeySlack).
type census struct {
	most   int         // keys of a namespace; 0: any number
	synced func() bool // whether all that the first list had is counted

	mu         sync.Mutex
	namespaces map[string]*residents
	wake       func(reconcile.Request) // nil: there is no queue yet
}

// residents are the keys of one namespace.
type residents struct {
	hashed  int                                // also those that are being deleted, until they are gone
	minting map[types.NamespacedName]types.UID // that have a place, and no hash that the cache shows
	waiting list.List                          // of types.NamespacedName: for a place, whoever came first
	at      map[types.NamespacedName]*list.Element
}

func newCensus(most int) *census {
	return &census{most: most, namespaces: map[string]*residents{}, synced: func() bool { return true }}
}

// follow has the census told of all ApiKeys in the cache.
func (c *census) follow(from cache.Cache) error {
	informer, err := from.GetInformer(context.Background(), &v1alpha1.ApiKey{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { c.changed(nil, o.(*v1alpha1.ApiKey)) },
		UpdateFunc: func(old, updated any) {
			c.changed(old.(*v1alpha1.ApiKey), updated.(*v1alpha1.ApiKey))
		},
		DeleteFunc: func(o any) {
			if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			c.changed(o.(*v1alpha1.ApiKey), nil)
		},
	})
	if err == nil {
		c.synced = registration.HasSynced
	}
	return err
}

// wakes lets the census wake keys that wait for a place. It is a source of the controller.
func (c *census) wakes(_ context.Context, q keyQueue) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = func(r reconcile.Request) { addLowPriority(q, r) }
	return nil
}

// changed counts what has become of an ApiKey; nil: it was not there, or is gone.
func (c *census) changed(old, updated *v1alpha1.ApiKey) {
	if old != nil && updated != nil && old.UID != updated.UID { // deleted and made again, which was seen as one change
		c.changed(old, nil)
		old = nil
	}
	k := cmp.Or(updated, old)
	was, is := hasHash(old), hasHash(updated)
	c.mu.Lock()
	defer c.mu.Unlock()
	its := c.of(k.Namespace)
	switch {
	case is && !was:
		its.hashed++
	case was && !is:
		its.hashed--
	}
	if name := client.ObjectKeyFromObject(k); is || updated == nil {
		its.leave(name, k.UID)
		its.forget(name)
	}
	c.fill(k.Namespace, its)
}

func hasHash(k *v1alpha1.ApiKey) bool { return k != nil && k.Status.Hash != "" }

// placing is what take says of a place.
type placing int

const (
	placeTaken   placing = iota
	placeRefused         // the namespace has as many keys as it may
	placeUnknown         // not all are counted yet
)

// take gives a key a place, which it keeps until giveUp, or until it is gone. A key that is refused is woken when there
// is room for it, in its turn.
func (c *census) take(k *v1alpha1.ApiKey) placing {
	if c.most == 0 {
		return placeTaken
	}
	if !c.synced() {
		return placeUnknown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	its, name := c.of(k.Namespace), client.ObjectKeyFromObject(k)
	if _, has := its.minting[name]; !has && its.hashed+len(its.minting) >= c.most {
		if its.at[name] == nil {
			its.at[name] = its.waiting.PushBack(name)
		}
		return placeRefused
	}
	its.forget(name)
	its.minting[name] = k.UID // also if it is left from one that had this name
	return placeTaken
}

// giveUp takes a place back.
func (c *census) giveUp(k *v1alpha1.ApiKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	its := c.of(k.Namespace)
	its.leave(client.ObjectKeyFromObject(k), k.UID)
	c.fill(k.Namespace, its)
}

// gone takes a place back of a key that the cache does not have, for whoever took it when that was not known yet.
func (c *census) gone(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	its := c.of(name.Namespace)
	delete(its.minting, name)
	its.forget(name)
	c.fill(name.Namespace, its)
}

// fill wakes who waits for the places that are free, and forgets a namespace of which nothing is known. mu must be
// held.
func (c *census) fill(namespace string, its *residents) {
	for free := c.most - its.hashed - len(its.minting); free > 0 && its.waiting.Len() > 0; free-- {
		name := its.waiting.Front().Value.(types.NamespacedName)
		its.forget(name)
		if c.wake != nil {
			c.wake(reconcile.Request{NamespacedName: name})
		}
	}
	if its.hashed == 0 && len(its.minting) == 0 && its.waiting.Len() == 0 {
		delete(c.namespaces, namespace)
	}
}

func (c *census) of(namespace string) *residents {
	its := c.namespaces[namespace]
	if its == nil {
		its = &residents{minting: map[types.NamespacedName]types.UID{}, at: map[types.NamespacedName]*list.Element{}}
		c.namespaces[namespace] = its
	}
	return its
}

// leave takes back the place of a key, and not that of another one of its name.
func (r *residents) leave(name types.NamespacedName, id types.UID) {
	if r.minting[name] == id {
		delete(r.minting, name)
	}
}

// forget takes a key off the list of those that wait.
func (r *residents) forget(name types.NamespacedName) {
	if e := r.at[name]; e != nil {
		r.waiting.Remove(e)
		delete(r.at, name)
	}
}

var (
	keyQuotaDesc   = prometheus.NewDesc("lmp_key_quota", "How many keys one namespace may have.", nil, nil)
	keyReachedDesc = prometheus.NewDesc("lmp_key_quota_namespaces_reached",
		"Namespaces that have as many keys as they may.", nil, nil)
	keyUseDesc = prometheus.NewDesc("lmp_key_quota_use_ratio",
		"The largest share of its quota of keys that any namespace uses.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *census) Describe(ch chan<- *prometheus.Desc) {
	ch <- keyQuotaDesc
	ch <- keyReachedDesc
	ch <- keyUseDesc
}

// Collect implements prometheus.Collector. Names of namespaces are no labels: there may be any number of them.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	if c.most == 0 {
		return
	}
	reached, largest := 0, 0
	c.mu.Lock()
	for _, its := range c.namespaces {
		largest = max(largest, its.hashed)
		if its.hashed >= c.most {
			reached++
		}
	}
	c.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(keyQuotaDesc, prometheus.GaugeValue, float64(c.most))
	ch <- prometheus.MustNewConstMetric(keyReachedDesc, prometheus.GaugeValue, float64(reached))
	ch <- prometheus.MustNewConstMetric(keyUseDesc, prometheus.GaugeValue, float64(largest)/float64(c.most))
}
