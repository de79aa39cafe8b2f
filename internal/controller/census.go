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

// census counts the keys of each namespace that have their hash, those that are being given it, and those that have
// leaked, so that no namespace gets more than its quota. It is kept by the events of the cache and not by lists: to
// list a namespace for each key of it would take as long as the square of their number.
//
// A LeakedKey keeps the place that its key had, for as long as it is there: whoever mints keys and reports them comes
// to the end of the quota, and nothing has to be forgotten to make room. So the place is noted before the key gives up
// its own, also where the LeakedKey is not in the cache yet.
//
// It lives in this process alone. Two leaders that overlap may each give the last places away; the API has room for
// that (lifecycle.KeySlack).
type census struct {
	most   int         // keys of a namespace; 0: any number
	synced func() bool // whether all that the first list had is counted

	// It guards what follows, of residents too. Events come from the goroutines of informers, questions from workers.
	mu         sync.Mutex
	namespaces map[string]*residents
	wake       func(reconcile.Request) // nil: there is no queue yet
}

// residents are the keys of one namespace.
type residents struct {
	hashed  int                                // also those that are being deleted, until they are gone
	minting map[types.NamespacedName]types.UID // that have a place, and no hash that the cache shows
	leaked  map[string]struct{}                // the names of the LeakedKeys of what were keys here
	waiting list.List                          // of types.NamespacedName: for a place, whoever came first
	at      map[types.NamespacedName]*list.Element
}

func newCensus(most int) *census {
	return &census{most: most, namespaces: map[string]*residents{}, synced: func() bool { return true }}
}

// follow has the census told of all ApiKeys and LeakedKeys in the cache.
func (c *census) follow(from cache.Cache) error {
	keys, err := watch(from, &v1alpha1.ApiKey{}, c.changed)
	if err != nil {
		return err
	}
	leaks, err := watch(from, &v1alpha1.LeakedKey{}, func(old, updated *v1alpha1.LeakedKey) {
		c.leakChanged(cmp.Or(updated, old), updated != nil)
	})
	if err != nil {
		return err
	}
	c.synced = func() bool { return keys() && leaks() }
	return nil
}

// watch calls changed for each event of a kind in the cache; nil: it was not there, or is gone. It returns what tells
// whether all that the first list had has been told of.
func watch[T client.Object](from cache.Cache, kind T, changed func(old, updated T)) (synced func() bool, err error) {
	informer, err := from.GetInformer(context.Background(), kind, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	var none T
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changed(none, o.(T)) },
		UpdateFunc: func(old, updated any) { changed(old.(T), updated.(T)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			changed(o.(T), none)
		},
	})
	if err != nil {
		return nil, err
	}
	return registration.HasSynced, nil
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
	// The hash that was counted above takes the place that was kept for it, under one lock: with both, a key would count
	// twice, and with neither for a moment, one more would be let in.
	if name := client.ObjectKeyFromObject(k); is || updated == nil {
		its.leave(name, k.UID)
		its.forget(name)
	}
	c.fill(k.Namespace, its)
}

// leakChanged counts a LeakedKey, or counts it no more: somebody has forgiven the leak.
func (c *census) leakChanged(l *v1alpha1.LeakedKey, there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	its := c.of(l.Spec.ApiKeyNamespace)
	if there {
		its.leaked[l.Name] = struct{}{}
	} else {
		delete(its.leaked, l.Name)
	}
	c.fill(l.Spec.ApiKeyNamespace, its)
}

// leakedOf is how many LeakedKeys a namespace has.
func (c *census) leakedOf(namespace string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if its := c.namespaces[namespace]; its != nil {
		return len(its.leaked)
	}
	return 0
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
	if _, has := its.minting[name]; !has && its.taken() >= c.most {
		if its.at[name] == nil {
			its.at[name] = its.waiting.PushBack(name)
		}
		return placeRefused
	}
	its.forget(name)
	its.minting[name] = k.UID // also if it is left from one that had this name
	return placeTaken
}

// isMinting tells whether a key has a place for which it has no hash yet.
func (c *census) isMinting(k *v1alpha1.ApiKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(k.Namespace).minting[client.ObjectKeyFromObject(k)] == k.UID
}

// giveUp takes a place back. It goes by the UID as well: the place may be that of an ApiKey that was made anew.
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
// held. Who is woken has no place yet. They take it when they are looked at; if somebody else was faster, they wait
// again, behind all others. wake may be called with mu held, because it does no more than add to a queue.
func (c *census) fill(namespace string, its *residents) {
	for free := c.most - its.taken(); free > 0 && its.waiting.Len() > 0; free-- {
		name := its.waiting.Front().Value.(types.NamespacedName)
		its.forget(name)
		if c.wake != nil {
			c.wake(reconcile.Request{NamespacedName: name})
		}
	}
	if its.taken() == 0 && its.waiting.Len() == 0 {
		delete(c.namespaces, namespace)
	}
}

func (c *census) of(namespace string) *residents {
	its := c.namespaces[namespace]
	if its == nil {
		its = &residents{
			minting: map[types.NamespacedName]types.UID{}, leaked: map[string]struct{}{},
			at: map[types.NamespacedName]*list.Element{},
		}
		c.namespaces[namespace] = its
	}
	return its
}

// taken is how many places are.
func (r *residents) taken() int { return r.hashed + len(r.minting) + len(r.leaked) }

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
	keyQuotaDesc = prometheus.NewDesc("lmp_key_quota",
		"How many keys one namespace may have, those that have leaked among them.", nil, nil)
	keyReachedDesc = prometheus.NewDesc("lmp_key_quota_namespaces_reached",
		"Namespaces that have as many keys as they may.", nil, nil)
	keyUseDesc = prometheus.NewDesc("lmp_key_quota_use_ratio",
		"The largest share of its quota of keys that any namespace uses.", nil, nil)
	leakedKeysDesc = prometheus.NewDesc("lmp_leaked_keys", "LeakedKeys that there are.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *census) Describe(ch chan<- *prometheus.Desc) {
	ch <- keyQuotaDesc
	ch <- keyReachedDesc
	ch <- keyUseDesc
	ch <- leakedKeysDesc
}

// Collect implements prometheus.Collector. Names of namespaces are no labels: there may be any number of them.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	reached, largest, leaked := 0, 0, 0
	c.mu.Lock()
	for _, its := range c.namespaces {
		has := its.hashed + len(its.leaked)
		largest, leaked = max(largest, has), leaked+len(its.leaked)
		if has >= c.most {
			reached++
		}
	}
	c.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(leakedKeysDesc, prometheus.GaugeValue, float64(leaked))
	if c.most == 0 {
		return
	}
	ch <- prometheus.MustNewConstMetric(keyQuotaDesc, prometheus.GaugeValue, float64(c.most))
	ch <- prometheus.MustNewConstMetric(keyReachedDesc, prometheus.GaugeValue, float64(reached))
	ch <- prometheus.MustNewConstMetric(keyUseDesc, prometheus.GaugeValue, float64(largest)/float64(c.most))
}
