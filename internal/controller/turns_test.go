// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// TestTurns says that a key waits for a few of each other organization's, however many those have.
func TestTurns(t *testing.T) {
	q := newTurns("turns", retries()).(*turns)
	t.Cleanup(q.ShutDown)
	request := func(namespace string, i int) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("key-", i)}}
	}
	const many = 1000
	for i := range many {
		q.Add(request("crowd", i))
		q.Add(request("crowd", i)) // an event more does not make two of one key
	}
	q.AddWithOpts(priorityqueue.AddOpts{Priority: behind}, request("crowd", many))
	for i := range perTurn {
		q.Add(request("acme", i))
	}
	at := map[string]int{} // the place of the last one
	for i := range many + 1 + perTurn {
		r, _, _ := q.GetWithPriority()
		at[r.Namespace] = i
		if i == many+perTurn && r != request("crowd", many) {
			t.Errorf("the last one is %s, and not the one that was looked at in vain", r)
		}
		q.Done(r)
	}
	if at["acme"] > 2*perTurn {
		t.Errorf("acme's keys came after %d of the crowd's, want %d at most", at["acme"]+1-perTurn, perTurn+1)
	}
	if len(q.waiting) != 0 {
		t.Errorf("nobody waits any more, and %d namespaces are said to", len(q.waiting))
	}
}

// TestTurnsOfWhatCanWait: what a controller finds when it starts is worked off in turns as well, and after all else.
func TestTurnsOfWhatCanWait(t *testing.T) {
	q := newTurns("turns", retries()).(*turns)
	t.Cleanup(q.ShutDown)
	request := func(namespace string, i int) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint("key-", i)}}
	}
	const many = 1000
	found := priorityqueue.AddOpts{Priority: behind}
	for i := range many {
		q.AddWithOpts(found, request("crowd", i))
	}
	q.AddWithOpts(found, request("acme", 0))
	q.Add(request("crowd", many)) // while theirs wait, which makes the next of them no later
	q.Add(request("globex", 0))
	var order []string
	for range perTurn + 3 {
		r, _, _ := q.GetWithPriority()
		order = append(order, r.Namespace)
		q.Done(r)
	}
	if !slices.Contains(order, "acme") {
		t.Errorf("acme's key comes after %v", order)
	}
	if !slices.Equal(order[:2], []string{"crowd", "globex"}) {
		t.Errorf("what has just happened comes first, and not %v", order)
	}
}

// TestLookedAtInVain says that what has been looked at in vain waits behind all keys that nobody has looked at,
// whatever it was that one namespace could not get done. TestTurns says what that is worth.
func TestLookedAtInVain(t *testing.T) {
	r := &apiKeys{Options: Options{SecretRecheckInterval: time.Minute, Clock: clocktesting.NewFakePassiveClock(now)}}
	for _, tc := range []struct {
		reason string
		found  findings
		behind bool
	}{
		{"one that is served", findings{key: anApiKey()}, false},
		{"one whose Secret is about to go", findings{key: anApiKey(), secret: secretLeaving}, false},
		{"its Secret is another's", findings{key: anApiKey(), secret: secretConflict}, true},
		{"its Secret is another's, and it expires", findings{key: anApiKey(expiringAt(tomorrow)), secret: secretConflict}, true},
		{"somebody refuses its Secret", findings{key: anApiKey(), secret: secretRejected}, true},
		{"there is no room for it", findings{key: anApiKey(), crowded: true}, true},
	} {
		if again := r.nextTurn(tc.found, lifecycle.State{}); (ptr.Deref(again.Priority, 0) == handler.LowPriority) != tc.behind {
			t.Errorf("%s: its priority is %v, and it waits behind others: %t", tc.reason, again.Priority, tc.behind)
		}
	}
	lasts, _ := failed(errors.New("a policy that can't be asked"))
	if ptr.Deref(lasts.Priority, 0) != handler.LowPriority {
		t.Errorf("one that failed has the priority %v", lasts.Priority)
	}
}
