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

// deniedAfter is how long lists of a namespace must have been forbidden before it is taken for closed to this process.
// An apiserver that has just started may know no roles yet.
const deniedAfter = 10 * time.Second

// feed hands one kind's objects, of one namespace or of all, from a reflector to the index. It is the reflector's
// store.
type feed[T metav1.Object] struct {
	source source
	clock  clock.PassiveClock
	put    func(T) (tell bool) // what is told is told when it has been noted as applied
	remove func(T)
	retain func(map[types.UID]struct{})
	tell   func()
	deny   func()        // stops serving what there is; nil: a list must not be forbidden
	ask    chan struct{} // has been sent to when a list is asked for

	mu      sync.Mutex
	version string          // the resourceVersion up to which all has been applied
	heard   time.Time       // when the apiserver was last heard of
	askers  []chan struct{} // to be closed by the first list that a new reflector applies
	listing []chan struct{} // to be closed by the first list that this reflector applies
	denied  time.Time       // since when lists have been forbidden; zero: they are not
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
	from := f.source
	if f.deny != nil {
		from.forbidden = f.forbidden
	}
	reflector := cache.NewReflectorWithOptions(from, kind, f, cache.ReflectorOptions{
		Name:            "authn/" + f.source.resource,
		TypeDescription: f.source.String(),
		Backoff: &wait.Backoff{
			Duration: 200 * time.Millisecond,
			Factor:   2,
			Jitter:   0.5,
			Steps:    5,
			Cap:      reconnectWithin,
		},
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
	tell := f.put(t)
	f.note(t.GetResourceVersion())
	if tell {
		f.tell()
	}
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

// listedAs is an object in a list, of which there may be very many.
type listedAs[T any] interface {
	GetUID() types.UID
	whole() T
}

// Replace takes in a whole list. What is gone is refused before what is new is served.
func (f *feed[T]) Replace(list []any, resourceVersion string) error {
	ids := make(map[types.UID]struct{}, len(list))
	for _, o := range list {
		switch o := o.(type) {
		case T:
			ids[o.GetUID()] = struct{}{}
		case listedAs[T]:
			ids[o.GetUID()] = struct{}{}
		default:
			return fmt.Errorf("index: got a list of %T, want %T", o, *new(T))
		}
	}
	f.retain(ids)
	tell := false
	for _, o := range list {
		t, ok := o.(T)
		if !ok {
			t = o.(listedAs[T]).whole()
		}
		tell = f.put(t) || tell
	}
	f.note(resourceVersion)
	if tell {
		f.tell()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied = time.Time{}
	f.answer()
	return nil
}

// answer tells all who have asked for this list. mu must be held.
func (f *feed[T]) answer() {
	for _, listed := range f.listing {
		close(listed)
	}
	f.listing = nil
}

// forbidden takes in that a list was refused. If that goes on, what there is of the namespace is served no more, and
// the others are not held up by it: a team that deletes its namespace, and the role in it, closes only its own. Nothing
// of it is accepted before a list that was sent later has been applied, which is all that Relist promises.
func (f *feed[T]) forbidden() {
	now := f.clock.Now()
	f.mu.Lock()
	if f.denied.IsZero() {
		f.denied = now
	}
	closed := now.Sub(f.denied) >= deniedAfter
	f.mu.Unlock()
	if !closed {
		return
	}
	f.deny()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = now
	f.answer()
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
