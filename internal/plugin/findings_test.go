// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// TestFindings: what doctor says of each key that is not in order, and that it names a command for it, in the namespace
// of this installation.
func TestFindings(t *testing.T) {
	const release = "elsewhere"
	condition := func(kind string, status metav1.ConditionStatus, reason string) func(*v1alpha1.ApiKey) {
		return func(k *v1alpha1.ApiKey) {
			k.Status.Conditions = append(k.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "why"})
		}
	}
	ready, stalled := v1alpha1.ConditionReady, v1alpha1.ConditionStalled
	hashed := func(k *v1alpha1.ApiKey) { k.Status.Hash = "bound:…" }
	held := func(by ...string) func(*v1alpha1.ApiKey) { return func(k *v1alpha1.ApiKey) { k.Finalizers = by } }
	deleting := func(k *v1alpha1.ApiKey) { k.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
	ours := held(v1alpha1.FinalizerRevocation)
	type mods []func(*v1alpha1.ApiKey)
	for _, c := range []struct {
		reason       string
		mods         mods
		how          string
		what, remedy string
	}{
		{"in order", mods{hashed, ours, condition(ready, metav1.ConditionTrue, v1alpha1.ReasonActive)}, "", "", ""},
		{"new", nil, "", "", ""},
		{
			"waits for a person",
			mods{condition(stalled, metav1.ConditionTrue, v1alpha1.ReasonSecretConflict)},
			isWrong, "is not served", "kubectl describe apikeys.letmepost.dev/shop -n acme",
		},
		{
			"has leaked",
			mods{hashed, ours, condition(ready, metav1.ConditionFalse, v1alpha1.ReasonLeaked)},
			isWrong, "has leaked", "kubectl letmepost revoke shop -n acme",
		},
		{"lacks the finalizer", mods{hashed}, isWrong, "can't be confirmed", "kubectl get pods -n elsewhere"},
		{"is being deleted", mods{hashed, ours, deleting}, note, "is being deleted", ""},
		{
			"and somebody is awaited",
			mods{hashed, ours, deleting, condition(v1alpha1.ConditionRevoking, metav1.ConditionTrue, v1alpha1.ReasonAwaitingReplicas)},
			isWrong, "is being deleted: ", "kubectl get pods -n elsewhere",
		},
		{
			"others hold it",
			mods{hashed, deleting, held("example.com/others")},
			isWrong, "example.com/others", "kubectl patch apikeys.letmepost.dev/shop -n acme --type=merge -p '{\"metadata\":{\"finalizers\":null}}'",
		},
	} {
		k := &v1alpha1.ApiKey{ObjectMeta: metav1.ObjectMeta{Namespace: "acme", Name: "shop"}}
		for _, mod := range c.mods {
			mod(k)
		}
		got := checkKey(k, release)
		if got.how != c.how || !strings.Contains(got.what, c.what) || !strings.Contains(got.remedy, c.remedy) {
			t.Errorf("%s: %+v", c.reason, got)
		}
		if got.how != "" && !strings.HasPrefix(got.what, "acme/shop ") {
			t.Errorf("%s: it does not say which key: %s", c.reason, got.what)
		}
	}
}
