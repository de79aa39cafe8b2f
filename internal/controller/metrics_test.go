// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
)

// keyList is a cache that holds these keys, and can do nothing but list them.
type keyList struct {
	client.Reader
	keys []v1alpha1.ApiKey
	err  error
}

func (l keyList) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.ApiKeyList).Items = l.keys
	return l.err
}

func TestCollector(t *testing.T) {
	of := func(environment v1alpha1.Environment, reason string) v1alpha1.ApiKey {
		k := v1alpha1.ApiKey{Spec: v1alpha1.ApiKeySpec{Environment: environment}}
		if reason != "" {
			k.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSecretAvailable, Reason: "Other"}, {Type: v1alpha1.ConditionReady, Reason: reason}}
		}
		return k
	}
	for _, tc := range []struct {
		reason string
		keys   []v1alpha1.ApiKey
		want   string
	}{
		{"no keys, no series", nil, ""},
		{"keys are counted by environment and reason", []v1alpha1.ApiKey{
			of("live", "Active"), of("test", "Active"), of("live", "Active"), of("live", "Expired"),
		}, `
			lmp_apikeys{environment="live",reason="Active"} 2
			lmp_apikeys{environment="live",reason="Expired"} 1
			lmp_apikeys{environment="test",reason="Active"} 1
		`},
		{"a key without conditions is pending", []v1alpha1.ApiKey{of("live", "")}, `lmp_apikeys{environment="live",reason="Pending"} 1`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			want := ""
			if tc.want != "" {
				want = "# HELP lmp_apikeys ApiKeys by environment and by the reason of their Ready condition.\n# TYPE lmp_apikeys gauge\n" +
					strings.ReplaceAll(strings.TrimSpace(tc.want), "\t", "") + "\n"
			}
			if err := testutil.CollectAndCompare(controller.NewCollector(keyList{keys: tc.keys}), strings.NewReader(want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCollectorSaysThatItCannot(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(controller.NewCollector(keyList{err: errors.New("the cache is not started")}))
	if _, err := registry.Gather(); err == nil || !strings.Contains(err.Error(), "the cache is not started") {
		t.Errorf("Gather() = %v, want the cache's error: an empty answer would look like no keys", err)
	}
}
