// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation_test

import (
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// TestProgress: what a condition says is what programs read in it.
func TestProgress(t *testing.T) {
	eleven := strings.Split(strings.Repeat("r ", 11), " ")[:11]
	for _, tc := range []struct {
		reason            string
		verdict           revocation.Verdict
		refused, replicas int
		names             string
		ok                bool
	}{
		{"one of three", revocation.Verdict{Awaited: []string{"a (pod-a)"}, Replicas: 3}, 2, 3, "a (pod-a)", true},
		{"all", revocation.Verdict{Awaited: []string{"a (x)", "b (y)"}, Replicas: 2}, 0, 2, "a (x), b (y)", true},
		{"more than are named", revocation.Verdict{Awaited: eleven, Replicas: 12}, 1, 12, "r, r, r, r, r, r, r, r, and 3 more", true},
		{"none, but what is queued is to be canceled", revocation.Verdict{Uncanceled: v1alpha1.EnvironmentTest, Replicas: 3}, 0, 0, "", false},
	} {
		refused, replicas, names, ok := revocation.Progress(tc.verdict.Message())
		if refused != tc.refused || replicas != tc.replicas || names != tc.names || ok != tc.ok {
			t.Errorf("%s: %q is read as %d of %d, %q, %t", tc.reason, tc.verdict.Message(), refused, replicas, names, ok)
		}
	}
	for _, other := range []string{"", "The key is being deleted", "Waiting for 4 of 3 API replicas to confirm that they refuse the key: a"} {
		if _, _, _, ok := revocation.Progress(other); ok {
			t.Errorf("%q is read as progress", other)
		}
	}
}
