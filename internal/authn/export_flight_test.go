// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"time"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// What the tests of package authn_test see of the registry of flights.

// Running counts the flights in the registry, and checks that its lists hold together.
func (x *Index) Running() int {
	n := 0
	for i := range x.flights.shards {
		s := &x.flights.shards[i]
		s.mu.Lock()
		var previous *Flight
		for f := s.first; f != nil; f = f.next {
			if f.previous != previous || f.shard != s || f.ended {
				panic("the list of flights is broken")
			}
			previous = f
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// ShardsInUse counts the shards that hold any flight.
func (x *Index) ShardsInUse() (inUse, all int) {
	for i := range x.flights.shards {
		if x.flights.shards[i].first != nil {
			inUse++
		}
	}
	return inUse, len(x.flights.shards)
}

// Committing is committing.
func (x *Index) Committing(id types.UID) bool { return x.committing(id) }

// OnCommitsOver sets commitsOver.
func (x *Index) OnCommitsOver(f func()) { x.commitsOver = f }

// RetainKeys and RetainProfiles are what a list does first.

func (x *Index) RetainKeys(ids ...types.UID) { x.retainKeys(metav1.NamespaceAll, setOf(ids)) }

func (x *Index) RetainProfiles(ids ...types.UID) {
	x.retainProfiles(metav1.NamespaceAll, setOf(ids))
}

func setOf(ids []types.UID) map[types.UID]struct{} {
	set := map[types.UID]struct{}{}
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

// AdmitInTwo is Admit with something happening between the lookup and the registration.
func (a *Authenticator) AdmitInTwo(ctx context.Context, authorization []string, f *Flight, between func()) error {
	now := a.clock.Now()
	id, err := a.recognise(authorization, now)
	if err != nil {
		return err
	}
	between()
	return f.begin(ctx, a, id, nil, now)
}

// LookedUp is how a key is judged by the slot that a lookup found, whatever has become of that slot.
func (a *Authenticator) LookedUp(authorization []string) func(now time.Time) error {
	s, err := a.find(authorization)
	if err != nil {
		return func(time.Time) error { return err }
	}
	return func(now time.Time) error {
		_, err := s.recognise(now)
		return err
	}
}

// Writes counts the keys that have a write past its commit point, and those that wait for theirs to end.
func (x *Index) Writes() (commits, waiting int) {
	x.flights.commitsMu.Lock()
	defer x.flights.commitsMu.Unlock()
	return len(x.flights.commits), len(x.flights.waiting)
}

// Listed is the ApiKey as it is put after it has come in a list.
func Listed(k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	l := listedOf(k)
	return l.object()
}

// ListItem is the ApiKey as it comes in a list.
func ListItem(k *v1alpha1.ApiKey) any {
	l := listedOf(k)
	return &l
}

// ListedSize is what a listed ApiKey takes of memory, without its name and UID.
const ListedSize = unsafe.Sizeof(listedKey{})

// Identify tells whose key was presented, if it is served, without a flight and without asking whether the process may
// serve: what the tests of the index and of the header look at. The error is a Refusal.
func (a *Authenticator) Identify(authorization []string) (Identity, error) {
	return a.IdentifyAt(a.clock.Now(), authorization)
}

// IdentifyAt is Identify for who has read the clock, as whoever admits a request has.
func (a *Authenticator) IdentifyAt(now time.Time, authorization []string) (Identity, error) {
	return a.recognise(authorization, now)
}

// AdmitNow is Admit for a request that comes at this moment.
func (a *Authenticator) AdmitNow(parent context.Context, authorization []string, f *Flight) error {
	return a.Admit(parent, a.clock.Now(), authorization, f)
}
