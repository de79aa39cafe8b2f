// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const ours, theirs = v1alpha1.FinalizerRevocation, "example.com/hold"

func keyWith(finalizers ...string) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "ci", UID: "u-1", Finalizers: finalizers},
		Status:     v1alpha1.ApiKeyStatus{Hash: "sha256:x"},
	}
}

// TestLiftPatch: one patch takes every copy of the finalizer off, nothing else, and nothing off another ApiKey. However
// many there are, it has three operations: an apiserver takes 10,000 at most.
func TestLiftPatch(t *testing.T) {
	for _, tc := range []struct {
		reason     string
		finalizers []string
		left       []string
	}{
		{"it has one", []string{ours}, []string{}},
		{"others have theirs", []string{theirs, ours, "x/y"}, []string{theirs, "x/y"}},
		{"it has very many", slices.Repeat([]string{ours, theirs, ours}, 5000), slices.Repeat([]string{theirs}, 5000)},
	} {
		k := keyWith(tc.finalizers...)
		p, err := liftPatch(k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Data(k)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal([]map[string]any{
			{"op": "test", "path": "/metadata/uid", "value": "u-1"},
			{"op": "test", "path": "/metadata/finalizers", "value": tc.finalizers},
			{"op": "replace", "path": "/metadata/finalizers", "value": tc.left},
		})
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s: the patch is %.300s, want %.300s", tc.reason, got, want)
		}
	}
}

// TestChangesThatWake: what may end a deletion, or begins to expose a key, is never thrown away as a change that does
// not count, whatever else the object looks like.
func TestChangesThatWake(t *testing.T) {
	deleting := func(k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
		k.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		return k
	}
	annotated := func(k *v1alpha1.ApiKey, name, value string) *v1alpha1.ApiKey {
		k.Annotations = map[string]string{name: value}
		return k
	}
	told := func(k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
		k.Status.Hint = "…told"
		return k
	}
	unhashed := func(k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
		k.Status.Hash = ""
		return k
	}
	for _, tc := range []struct {
		reason        string
		was, is       *v1alpha1.ApiKey
		ends, exposes bool // wakes the revocation; wakes who puts the finalizer back
	}{
		{"nothing", keyWith(ours), keyWith(ours), false, false},
		{"its status", keyWith(ours), told(keyWith(ours)), false, false},
		{"it is deleted", keyWith(ours), deleting(keyWith(ours)), true, false},
		{"its status, while it is being deleted", deleting(keyWith(ours)), told(deleting(keyWith(ours))), false, false},
		{"one of many finalizers is gone", deleting(keyWith(ours, ours)), deleting(keyWith(ours)), true, false},
		{"the finalizer is gone", deleting(keyWith(ours, theirs)), deleting(keyWith(theirs)), true, false},
		{"somebody else's is gone", deleting(keyWith(ours, theirs)), deleting(keyWith(ours)), true, false},
		{
			"nothing is to be canceled any more", annotated(deleting(keyWith(ours)), v1alpha1.AnnotationCancelScheduled, "yes"),
			deleting(keyWith(ours)), true, false,
		},
		{
			"something is to be canceled", deleting(keyWith(ours)),
			annotated(deleting(keyWith(ours)), v1alpha1.AnnotationCancelScheduled, "1"), true, false,
		},
		{"it lost the finalizer", keyWith(ours), keyWith(), false, true},
		{"it lost the finalizer and kept another", keyWith(ours, theirs), keyWith(theirs), false, true},
		{"it has been without for longer", keyWith(), told(keyWith()), false, true},
		{"it is marked", keyWith(ours), annotated(keyWith(ours), v1alpha1.AnnotationUnconfirmed, "x"), false, true},
		{"it never was a key", unhashed(keyWith(ours)), unhashed(keyWith()), false, false},
		{"it lost the finalizer, and is being deleted", deleting(keyWith(ours)), deleting(keyWith()), true, false},
	} {
		e := event.UpdateEvent{ObjectOld: tc.was, ObjectNew: tc.is}
		if got := beingDeleted.Update(e); got != tc.ends {
			t.Errorf("%s: wakes the revocation %t, want %t", tc.reason, got, tc.ends)
		}
		if got := exposed.Update(e); got != tc.exposes {
			t.Errorf("%s: has the finalizer put back %t, want %t", tc.reason, got, tc.exposes)
		}
	}
}
