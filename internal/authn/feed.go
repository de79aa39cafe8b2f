// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// Feed keeps an Index in step with the apiserver. It stands directly on client-go's reflectors, without an informer:
// the index is the only store, so nothing is held twice, and what the reflector has handed over has been applied.
//
// It follows the whole cluster, or some namespaces, each with a list and a watch of its own: whoever may not read the
// others can't watch them all at once. What one of them brings says nothing about the others' objects.
//
// It is the store of a revocation.Replica, which says when it is to list.
type Feed struct {
	index    *Index
	keys     []*follower[*v1alpha1.ApiKey] // one a namespace
	profiles []*follower[*v1alpha1.Profile]
	leaks    *follower[*v1alpha1.LeakedKey] // nil: see FollowLeaks

	client rest.Interface
	clock  clock.PassiveClock

	room      chan struct{} // is sent to when there is room for keys that the index has turned away
	roomPause time.Duration // before they are listed

	// It guards revoked. The index is asked only for commits while it is held.
	mu      sync.Mutex
	revoked map[types.UID]pendingRevocation // keys whose deletion waits for this process and its like
	changed chan struct{}                   // holds one: see Changed
}

// NewFeed returns a feed of index. client is a REST client of v1alpha1.GroupVersion. Without namespaces, the feed
// follows all of them.
func NewFeed(index *Index, client rest.Interface, clock clock.PassiveClock, namespaces ...string) *Feed {
	f := &Feed{
		index: index, revoked: map[types.UID]pendingRevocation{}, changed: make(chan struct{}, 1),
		room: make(chan struct{}, 1), roomPause: roomPause, client: client, clock: clock,
	}
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		f.keys = append(f.keys, f.followKeys(client, clock, namespace))
		f.profiles = append(f.profiles, f.followProfiles(client, clock, namespace))
	}
	index.commitsOver = f.notify
	index.onRoom = func() {
		select {
		case f.room <- struct{}{}:
		default: // it has been sent to already
		}
	}
	return f
}

// followKeys returns what follows the ApiKeys of a namespace.
func (f *Feed) followKeys(
	client rest.Interface, clock clock.PassiveClock, namespace string,
) *follower[*v1alpha1.ApiKey] {
	keys := &follower[*v1alpha1.ApiKey]{
		listWatch: listWatch{
			client:    client,
			namespace: namespace,
			resource:  "apikeys",
			newList:   func() runtime.Object { return new(v1alpha1.ApiKeyList) },
		},
		clock:  clock,
		ask:    make(chan struct{}, 1),
		put:    f.putKey,
		remove: f.removeKey,
		retain: func(ids map[types.UID]struct{}) { f.retainKeys(namespace, ids) },
		notify: f.notify,
	}
	// Of the whole cluster, a list that is forbidden closes nothing: it counts as silence, which Heard tells.
	if namespace != metav1.NamespaceAll {
		// The index alone, not f.retainKeys: the keys that are being deleted go on being named to the controller, which is
		// right, as they will not be served again.
		keys.stopServing = func() { f.index.retainKeys(namespace, nil) }
	}
	return keys
}

// followProfiles returns what follows the Profiles of a namespace. Their going is never announced to the controller:
// deletions of Profiles wait for nobody.
func (f *Feed) followProfiles(
	client rest.Interface, clock clock.PassiveClock, namespace string,
) *follower[*v1alpha1.Profile] {
	profiles := &follower[*v1alpha1.Profile]{
		listWatch: listWatch{
			client:    client,
			namespace: namespace,
			resource:  "profiles",
			newList:   func() runtime.Object { return new(v1alpha1.ProfileList) },
		},
		clock:  clock,
		ask:    make(chan struct{}, 1),
		put:    func(p *v1alpha1.Profile) bool { f.index.PutProfile(p); return false },
		remove: f.index.RemoveProfile,
		retain: func(ids map[types.UID]struct{}) { f.index.retainProfiles(namespace, ids) },
		notify: f.notify,
	}
	if namespace != metav1.NamespaceAll {
		profiles.stopServing = func() { f.index.retainProfiles(namespace, nil) }
	}
	return profiles
}

// FollowLeaks has the LeakedKeys of a namespace followed as well, which is the release's. It is called before Run.
// Without it, keys are ended by their ApiKeys and by what is reported here alone.
func (f *Feed) FollowLeaks(namespace string) {
	f.leaks = &follower[*v1alpha1.LeakedKey]{
		listWatch: listWatch{
			client:    f.client,
			namespace: namespace,
			resource:  "leakedkeys",
			newList:   func() runtime.Object { return new(v1alpha1.LeakedKeyList) },
		},
		clock:  f.clock,
		ask:    make(chan struct{}, 1),
		put:    func(l *v1alpha1.LeakedKey) bool { f.index.PutLeak(l); return false },
		remove: f.index.RemoveLeak,
		retain: f.index.retainLeaks,
		notify: f.notify,
	}
}

// Run lists and watches until ctx ends, over and over where the connection breaks. It begins with the first Relist.
// Profiles and keys are followed apart, so a key may be seen before its Profile, and is refused until that comes.
func (f *Feed) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { f.fillRoom(ctx) })
	if f.leaks != nil {
		running.Go(func() { f.leaks.run(ctx, new(v1alpha1.LeakedKey)) })
	}
	for i := range f.keys {
		running.Go(func() { f.profiles[i].run(ctx, new(v1alpha1.Profile)) })
		running.Go(func() { f.keys[i].run(ctx, new(v1alpha1.ApiKey)) })
	}
	running.Wait()
}

// roomPause keeps who makes room again and again from having all keys listed as often. Keys are turned away only where
// the controller mints more than this process is to hold, so nobody waits for it in the ordinary course.
const roomPause = 10 * time.Minute

// fillRoom lists keys when there is room for some that were turned away: nothing of them is kept here.
func (f *Feed) fillRoom(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.room:
		}
		if !retry.Pause(ctx, f.roomPause) {
			return
		}
		for _, keys := range f.keys {
			keys.relist()
		}
	}
}

// Relist throws all watches away and lists anew. It returns when lists that were sent after the call have been applied,
// or when ctx ends, with its error. It is how a replica that was cut off makes sure that it knows all that has happened
// meanwhile: a watch that goes on where it broke off may be served from a cache that is behind.
//
// Model: step List.
func (f *Feed) Relist(ctx context.Context) error {
	var lists []<-chan struct{}
	if f.leaks != nil {
		lists = append(lists, f.leaks.relist())
	}
	for i := range f.keys {
		lists = append(lists, f.profiles[i].relist(), f.keys[i].relist())
	}
	for _, listed := range lists {
		select {
		case <-listed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Heard returns when the apiserver was last heard of by each of the watches: by the one that has been silent longest.
// One silent watch is enough to miss a revocation.
func (f *Feed) Heard() time.Time {
	heard := f.keys[0].heardAt()
	for i := range f.keys {
		for _, at := range []time.Time{f.keys[i].heardAt(), f.profiles[i].heardAt()} {
			if at.Before(heard) {
				heard = at
			}
		}
	}
	if f.leaks != nil {
		if at := f.leaks.heardAt(); at.Before(heard) {
			heard = at
		}
	}
	return heard
}

// ListTook returns how long the longest of the last lists took, from its first page until it was applied: what was
// tried before it, and failed, does not count.
func (f *Feed) ListTook() time.Duration {
	var took time.Duration
	for i := range f.keys {
		took = max(took, f.keys[i].listTook(), f.profiles[i].listTook())
	}
	if f.leaks != nil {
		took = max(took, f.leaks.listTook())
	}
	return took
}
