// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTurnQueue: whatever waits of one namespace, another's is next but one.
func TestTurnQueue(t *testing.T) {
	q := newTurnQueue("", workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](time.Second, time.Minute))
	defer q.ShutDown()
	request := func(namespace, name string) ctrl.Request {
		return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: name}}
	}
	for i := range 10_000 {
		q.Add(request("many", fmt.Sprint(i)))
	}
	q.Add(request("few", "a"))
	q.Add(request("few", "b"))
	q.Add(request("few", "a")) // waits already
	q.Add(request("one", "x"))
	if q.Len() != 10_003 {
		t.Errorf("%d wait", q.Len())
	}
	var got []string
	for range 8 {
		r, _ := q.Get()
		got = append(got, r.String())
		q.Done(r)
	}
	want := "many/0 few/a one/x many/1 few/b many/2 many/3 many/4"
	if strings.Join(got, " ") != want {
		t.Errorf("the order is %v, want %s", got, want)
	}
	q.Add(request("late", "y"))
	for i := range 2 {
		if r, _ := q.Get(); r.Namespace == "late" {
			break
		} else if q.Done(r); i == 1 {
			t.Errorf("who comes late waits for more than one of another")
		}
	}
}
