// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// listPage is the number of objects asked for at once: each page is decoded and stripped before the next is fetched.
const listPage = 500

// reconnectWithin bounds the pause between attempts to reach an apiserver that was away, before up to a half of jitter.
// client-go's own bound is half a minute, for which revoked keys would go on being served.
const reconnectWithin = 2 * time.Second

// closedAfter is how long lists of a namespace must have been forbidden before it is taken for closed to this process.
// An apiserver that has just started may know no roles yet.
const closedAfter = 10 * time.Second

// follower hands one kind's objects, of one namespace or of all, from a reflector to the index. It is the reflector's
// store.
type follower[T metav1.Object] struct {
	listWatch listWatch
	clock     clock.PassiveClock

	// put takes an object in, and says whether notify is to be called. That is done later, when the object's
	// resourceVersion has been noted: who is notified reads it, and would otherwise announce the one before.
	put    func(T) (notify bool)
	notify func()
	remove func(T)
	retain func(map[types.UID]struct{}) // removes all but these
	// stopServing refuses all that there is of the namespace. Nil: a list must not be forbidden.
	stopServing func()
	ask         chan struct{} // has been sent to when a list is asked for

	mu      sync.Mutex
	version string    // the resourceVersion up to which all has been applied
	heard   time.Time // when the apiserver was last heard of
	// Whoever asks while a list is on its way must not be answered by that one: it was sent before they asked.
	waitingForNext []chan struct{} // to be closed by the first list that the next reflector applies
	waitingForThis []chan struct{} // to be closed by the first list that this reflector applies
	forbiddenSince time.Time       // zero: lists are not forbidden
	listing        time.Time       // when the last list began
	took           time.Duration   // how long the last one took that was applied
}

// relist asks for a new list, and returns what is closed when it has been applied.
func (f *follower[T]) relist() <-chan struct{} {
	listed := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waitingForNext = append(f.waitingForNext, listed)
	select {
	case f.ask <- struct{}{}:
	default: // somebody has asked already: one list answers both
	}
	return listed
}

// run runs one reflector after another, each until a list is asked for. A reflector can't be told to list: a new one
// does, first of all.
func (f *follower[T]) run(ctx context.Context, kind runtime.Object) {
	select {
	case <-ctx.Done():
	case <-f.ask:
	}
	for ctx.Err() == nil {
		f.takeAskers()
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

// takeAskers lets a new reflector answer all who have asked for a list until now. It runs before the reflector begins,
// so whoever has asked by now has asked before its list is sent.
func (f *follower[T]) takeAskers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waitingForThis, f.waitingForNext = append(f.waitingForThis, f.waitingForNext...), nil
	select {
	case <-f.ask: // it came after the last look at ask, and is answered by this reflector too
	default:
	}
}

// reflector returns a new one, which lists before all else. Objects are of the type of kind.
func (f *follower[T]) reflector(kind runtime.Object) *cache.Reflector {
	from := f.listWatch
	from.onList = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.listing = f.clock.Now()
	}
	if f.stopServing != nil {
		from.onForbidden = f.listForbidden
	}
	reflector := cache.NewReflectorWithOptions(from, kind, f, cache.ReflectorOptions{
		Name:            "authn/" + f.listWatch.resource,
		TypeDescription: f.listWatch.String(),
		Backoff: &wait.Backoff{
			Duration: 200 * time.Millisecond,
			Factor:   2,
			Jitter:   0.5,
			Steps:    5,
			Cap:      reconnectWithin,
		},
	})
	// A list in pages, so that neither side holds all of it as JSON.
	reflector.WatchListPageSize = listPage
	return reflector
}

// noteApplied notes up to where all has been applied, and that the apiserver was heard of. It is called after the
// index has taken the change in, never before: a replica must not announce what it does not refuse yet.
func (f *follower[T]) noteApplied(resourceVersion string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version, f.heard = resourceVersion, f.clock.Now()
}

// applied returns the resourceVersion up to which all has been applied; "" before the first list.
func (f *follower[T]) applied() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version
}

// heardAt returns when the apiserver was last heard of; zero before the first list.
func (f *follower[T]) heardAt() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard
}

// listTook returns how long the last list took; 0 before the first one.
func (f *follower[T]) listTook() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.took
}

// Add takes in an object that is new. The index tells the two apart by itself, as a watch that begins anew may say
// "added" of what is known.
func (f *follower[T]) Add(o any) error { return f.Update(o) }

// Update takes in an object as it is now.
//
// Model: step Apply.
func (f *follower[T]) Update(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("index: got a %T, want a %T", o, t)
	}
	notify := f.put(t)
	f.noteApplied(t.GetResourceVersion())
	if notify {
		f.notify()
	}
	return nil
}

// Delete takes out an object that is gone. o is the object as it was last, as a watch hands it over; the
// resourceVersion is that of the deletion.
//
// Model: step Apply.
func (f *follower[T]) Delete(o any) error {
	t, ok := o.(T)
	if !ok {
		return fmt.Errorf("index: got a %T, want a %T", o, t)
	}
	f.remove(t)
	f.noteApplied(t.GetResourceVersion())
	return nil
}

// compact is an object in a list, in less memory: there may be very many of them at once.
type compact[T any] interface {
	GetUID() types.UID
	object() T // as far as the index takes it in
}

// Replace takes in a whole list. What is gone is refused before what is new is served: a hash may have moved from one
// key to another.
func (f *follower[T]) Replace(list []any, resourceVersion string) error {
	ids := make(map[types.UID]struct{}, len(list))
	for _, o := range list {
		switch o := o.(type) {
		case T:
			ids[o.GetUID()] = struct{}{}
		case compact[T]:
			ids[o.GetUID()] = struct{}{}
		default:
			return fmt.Errorf("index: got a list of %T, want %T", o, *new(T))
		}
	}
	f.retain(ids)
	notify := false
	for i, o := range list {
		list[i] = nil // it is ours, as any list is a store's, and what was taken in need not be held twice
		t, ok := o.(T)
		if !ok {
			t = o.(compact[T]).object()
		}
		notify = f.put(t) || notify
	}
	f.noteApplied(resourceVersion)
	if notify {
		f.notify()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forbiddenSince = time.Time{}
	f.took = f.clock.Since(f.listing)
	f.answerAskers()
	return nil
}

// answerAskers tells all who wait for a list of this reflector that it has been applied. mu must be held.
func (f *follower[T]) answerAskers() {
	for _, listed := range f.waitingForThis {
		close(listed)
	}
	f.waitingForThis = nil
}

// listForbidden is called when the apiserver refuses a list of the namespace. If that goes on for closedAfter, the
// namespace counts as closed: nothing of it is served until a later list succeeds. Those who wait for a list are
// answered all the same, and the namespace counts as heard of, so that it does not keep the whole replica from serving:
// a team that deletes its namespace, and with it the role that lets us read it, stops its own keys and nobody else's.
// Relist keeps its word by this: whatever of the namespace is served afterwards comes from a list that was sent later.
func (f *follower[T]) listForbidden() {
	now := f.clock.Now()
	f.mu.Lock()
	if f.forbiddenSince.IsZero() {
		f.forbiddenSince = now
	}
	closed := now.Sub(f.forbiddenSince) >= closedAfter
	f.mu.Unlock()
	if !closed {
		return
	}
	f.stopServing()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = now
	f.answerAskers()
}

// Bookmark takes in that nothing has changed up to a resourceVersion.
//
// Model: step Bookmark.
func (f *follower[T]) Bookmark(resourceVersion string) error {
	f.noteApplied(resourceVersion)
	return nil
}

// Resync has nothing to do: the index is the store. A reflector calls it only where a resync period is set.
func (f *follower[T]) Resync() error { return nil }
