// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// listPage is the number of objects asked for at once: each page is decoded and stripped before the next is fetched.
const listPage = 500

// reconnectWithin bounds the pause between attempts to reach an apiserver that was away, before up to a half of jitter.
// client-go's own bound is half a minute, for which revoked keys would go on being served.
const reconnectWithin = 2 * time.Second

// Feed keeps an Index in step with the apiserver. It stands directly on client-go's reflectors, without an informer:
// the index is the only store, so nothing is held twice, and what the reflector has handed over has been applied.
type Feed struct {
	keys     feed[*v1alpha1.ApiKey]
	profiles feed[*v1alpha1.Profile]
}

// NewFeed returns a feed of index. client is a REST client of v1alpha1.GroupVersion.
func NewFeed(index *Index, client rest.Interface) *Feed {
	return &Feed{
		keys: feed[*v1alpha1.ApiKey]{
			source: source{client: client, resource: "apikeys", newList: func() runtime.Object { return new(v1alpha1.ApiKeyList) }},
			put:    index.PutKey, remove: index.RemoveKey, retain: index.retainKeys,
		},
		profiles: feed[*v1alpha1.Profile]{
			source: source{client: client, resource: "profiles", newList: func() runtime.Object { return new(v1alpha1.ProfileList) }},
			put:    index.PutProfile, remove: index.RemoveProfile, retain: index.retainProfiles,
		},
	}
}

// Run lists and watches until ctx ends, over and over where the connection breaks.
func (f *Feed) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { f.profiles.run(ctx, new(v1alpha1.Profile)) })
	running.Go(func() { f.keys.run(ctx, new(v1alpha1.ApiKey)) })
	running.Wait()
}

// Synced tells whether the index has been complete once. It stays true: a broken watch leaves the index as it was.
func (f *Feed) Synced() bool { return f.keys.synced.Load() && f.profiles.synced.Load() }

// feed hands one kind's objects from a reflector to the index. It is the reflector's store.
type feed[T metav1.Object] struct {
	source source
	put    func(T)
	remove func(T)
	retain func(map[types.UID]struct{})
	synced atomic.Bool
}

func (f *feed[T]) run(ctx context.Context, kind runtime.Object) {
	reflector := cache.NewReflectorWithOptions(f.source, kind, f, cache.ReflectorOptions{
		Name:            "authn/" + f.source.resource,
		TypeDescription: f.source.resource,
		Backoff:         &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 5, Cap: reconnectWithin},
	})
	reflector.WatchListPageSize = listPage
	reflector.RunWithContext(ctx)
}

// Add takes in an object that is new.
func (f *feed[T]) Add(o any) error { return f.Update(o) }

// Update takes in an object as it is now.
func (f *feed[T]) Update(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("index: got a %T, want a %T", o, t)
	}
	f.put(t)
	return nil
}

// Delete takes out an object that is gone.
func (f *feed[T]) Delete(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("index: got a %T, want a %T", o, t)
	}
	f.remove(t)
	return nil
}

// Replace takes in a whole list. What is gone is refused before what is new is served.
func (f *feed[T]) Replace(list []any, _ string) error {
	ids := make(map[types.UID]struct{}, len(list))
	for _, o := range list {
		if t, ok := o.(T); ok {
			ids[t.GetUID()] = struct{}{}
		}
	}
	f.retain(ids)
	for _, o := range list {
		if err := f.Update(o); err != nil {
			return err
		}
	}
	f.synced.Store(true)
	return nil
}

// Resync has nothing to do: the index is the store.
func (f *feed[T]) Resync() error { return nil }

// source lists and watches one resource of the whole cluster.
type source struct {
	client   rest.Interface
	resource string
	newList  func() runtime.Object
}

// IsWatchListSemanticsUnSupported makes the reflector list and then watch. Streaming the first list as watch events
// costs the decoding of every object twice.
func (source) IsWatchListSemanticsUnSupported() bool { return true }

// ListWithContext returns one page, consistent with the others, without what nobody needs.
func (s source) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	// Always the newest state. The reflector asks for "0" first, which may be answered from a stale cache, so that a revoked
	// key could come back; and after a broken watch for what it has seen last, which with a limit means exactly that
	// version: it would list the same past for ever.
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	list := s.newList()
	err := s.client.Get().Resource(s.resource).VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(list)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.resource, err)
	}
	if keys, ok := list.(*v1alpha1.ApiKeyList); ok {
		for i := range keys.Items {
			strip(&keys.Items[i])
		}
	}
	return list, nil
}

// WatchWithContext returns the changes that follow a list.
func (s source) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	w, err := s.client.Get().Resource(s.resource).VersionedParams(&options, metav1.ParameterCodec).Watch(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", s.resource, err)
	}
	return w, nil
}

// List and Watch complete cache.ListerWatcher; the reflector calls the two above.

func (s source) List(options metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), options)
}

func (s source) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), options)
}

// strip drops what an entry is not made of, so that a first list of many keys fits into little memory.
func strip(k *v1alpha1.ApiKey) {
	k.ManagedFields = nil
	k.Annotations = nil
	k.Labels = nil
	k.Spec.SecretTemplate = nil
}
