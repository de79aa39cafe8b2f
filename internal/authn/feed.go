// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// listPage is the number of objects asked for at once: each page is decoded and stripped before the next is fetched.
const listPage = 500

// reconnectWithin bounds the pause between attempts to reach an apiserver that was away, before up to a half of jitter.
// client-go's own bound is half a minute, for which revoked keys would go on being served.
const reconnectWithin = 2 * time.Second

// Feed keeps an Index in step with the apiserver. It stands directly on client-go's reflectors, without an informer:
// the index is the only store, so nothing is held twice, and what the reflector has handed over has been applied.
//
// It is the store of a revocation.Replica, which says when it is to list.
type Feed struct {
	index    *Index
	keys     feed[*v1alpha1.ApiKey]
	profiles feed[*v1alpha1.Profile]

	mu      sync.Mutex
	revoked map[types.UID]time.Time // keys whose deletion waits for this process and its like: since when
	changed chan struct{}
}

// NewFeed returns a feed of index. client is a REST client of v1alpha1.GroupVersion.
func NewFeed(index *Index, client rest.Interface, clock clock.PassiveClock) *Feed {
	f := &Feed{index: index, revoked: map[types.UID]time.Time{}, changed: make(chan struct{}, 1)}
	f.keys = feed[*v1alpha1.ApiKey]{
		source: source{client: client, resource: "apikeys", newList: func() runtime.Object { return new(v1alpha1.ApiKeyList) }},
		clock:  clock, ask: make(chan struct{}, 1),
		put: f.putKey, remove: f.removeKey, retain: f.retainKeys,
	}
	f.profiles = feed[*v1alpha1.Profile]{
		source: source{client: client, resource: "profiles", newList: func() runtime.Object { return new(v1alpha1.ProfileList) }},
		clock:  clock, ask: make(chan struct{}, 1),
		put: index.PutProfile, remove: index.RemoveProfile, retain: index.retainProfiles,
	}
	index.settled = f.notify
	return f
}

// Run lists and watches until ctx ends, over and over where the connection breaks. It begins with the first Relist.
func (f *Feed) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { f.profiles.run(ctx, new(v1alpha1.Profile)) })
	running.Go(func() { f.keys.run(ctx, new(v1alpha1.ApiKey)) })
	running.Wait()
}

// Relist throws both watches away and lists anew. It returns when lists that were sent after the call have been applied, or
// when ctx ends, with its error.
//
// Model: step List.
func (f *Feed) Relist(ctx context.Context) error {
	for _, listed := range []<-chan struct{}{f.profiles.relist(), f.keys.relist()} {
		select {
		case <-listed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Heard returns when the apiserver was last heard of by both watches.
func (f *Feed) Heard() time.Time {
	keys, profiles := f.keys.heardAt(), f.profiles.heardAt()
	if profiles.Before(keys) {
		return profiles
	}
	return keys
}

// Applied returns the resourceVersion up to which ApiKeys have been applied to the index, "" if none yet. And it returns
// the keys, at most limit, that the index refuses because they are being deleted, and whose deletion waits to be told so;
// the oldest deletions first, so that all replicas name the same ones. A key is not among them while a write with it is
// past its commit point.
//
// Model: step Applied.
func (f *Feed) Applied(limit int) (resourceVersion string, revoked []types.UID) {
	resourceVersion = f.keys.applied()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.revoked {
		if !f.index.committing(id) {
			revoked = append(revoked, id)
		}
	}
	slices.SortFunc(revoked, func(a, b types.UID) int {
		if c := f.revoked[a].Compare(f.revoked[b]); c != 0 {
			return c
		}
		return strings.Compare(string(a), string(b))
	})
	return resourceVersion, revoked[:min(limit, len(revoked))]
}

// Changed is sent to when Applied has another key to return.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

func (f *Feed) notify() {
	select {
	case f.changed <- struct{}{}:
	default: // it has been sent to already, and not looked at yet
	}
}

func (f *Feed) putKey(k *v1alpha1.ApiKey) {
	f.index.PutKey(k)
	if k.DeletionTimestamp.IsZero() || !slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation) {
		f.forget(k.UID)
		return
	}
	f.mu.Lock()
	_, known := f.revoked[k.UID]
	f.revoked[k.UID] = k.DeletionTimestamp.Time
	f.mu.Unlock()
	if !known {
		f.notify()
	}
}

func (f *Feed) removeKey(k *v1alpha1.ApiKey) {
	f.index.RemoveKey(k)
	f.forget(k.UID)
}

func (f *Feed) forget(id types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.revoked, id)
}

func (f *Feed) retainKeys(ids map[types.UID]struct{}) {
	f.index.retainKeys(ids)
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.revoked, func(id types.UID, _ time.Time) bool {
		_, ok := ids[id]
		return !ok
	})
}

// feed hands one kind's objects from a reflector to the index. It is the reflector's store.
type feed[T metav1.Object] struct {
	source source
	clock  clock.PassiveClock
	put    func(T)
	remove func(T)
	retain func(map[types.UID]struct{})
	ask    chan struct{} // has been sent to when a list is asked for

	mu      sync.Mutex
	version string          // the resourceVersion up to which all has been applied
	heard   time.Time       // when the apiserver was last heard of
	askers  []chan struct{} // to be closed by the first list that a new reflector applies
	listing []chan struct{} // to be closed by the first list that this reflector applies
}

// relist asks for a new list, and returns what is closed when it has been applied.
func (f *feed[T]) relist() <-chan struct{} {
	listed := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.askers = append(f.askers, listed)
	select {
	case f.ask <- struct{}{}:
	default:
	}
	return listed
}

// run runs one reflector after another, each until a list is asked for.
func (f *feed[T]) run(ctx context.Context, kind runtime.Object) {
	select {
	case <-ctx.Done():
	case <-f.ask:
	}
	for ctx.Err() == nil {
		f.begin()
		life, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.reflector(kind).RunWithContext(life)
		}()
		select {
		case <-ctx.Done():
		case <-f.ask:
		}
		stop()
		<-ended // it must not hand over anything old after the new list
	}
}

// begin lets a new reflector answer all who have asked for a list until now.
func (f *feed[T]) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listing, f.askers = append(f.listing, f.askers...), nil
	select {
	case <-f.ask:
	default:
	}
}

func (f *feed[T]) reflector(kind runtime.Object) *cache.Reflector {
	reflector := cache.NewReflectorWithOptions(f.source, kind, f, cache.ReflectorOptions{
		Name:            "authn/" + f.source.resource,
		TypeDescription: f.source.resource,
		Backoff:         &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 5, Cap: reconnectWithin},
	})
	reflector.WatchListPageSize = listPage
	return reflector
}

// note takes down what has just been applied.
func (f *feed[T]) note(resourceVersion string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version, f.heard = resourceVersion, f.clock.Now()
}

func (f *feed[T]) applied() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version
}

func (f *feed[T]) heardAt() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard
}

// Add takes in an object that is new.
func (f *feed[T]) Add(o any) error { return f.Update(o) }

// Update takes in an object as it is now.
//
// Model: step Apply.
func (f *feed[T]) Update(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("index: got a %T, want a %T", o, t)
	}
	f.put(t)
	f.note(t.GetResourceVersion())
	return nil
}

// Delete takes out an object that is gone.
//
// Model: step Apply.
func (f *feed[T]) Delete(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("index: got a %T, want a %T", o, t)
	}
	f.remove(t)
	f.note(t.GetResourceVersion())
	return nil
}

// Replace takes in a whole list. What is gone is refused before what is new is served.
func (f *feed[T]) Replace(list []any, resourceVersion string) error {
	ids := make(map[types.UID]struct{}, len(list))
	for _, o := range list {
		t, ok := o.(T)
		if !ok {
			return fmt.Errorf("index: got a %T, want a %T", o, t)
		}
		ids[t.GetUID()] = struct{}{}
	}
	f.retain(ids)
	for _, o := range list {
		f.put(o.(T))
	}
	f.note(resourceVersion)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, listed := range f.listing {
		close(listed)
	}
	f.listing = nil
	return nil
}

// Bookmark takes in that nothing has changed up to a resourceVersion.
//
// Model: step Bookmark.
func (f *feed[T]) Bookmark(resourceVersion string) error {
	f.note(resourceVersion)
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
	if cancelsScheduled(k) {
		k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled}
	} else {
		k.Annotations = nil
	}
	k.Labels = nil
	k.Spec.SecretTemplate = nil
}
