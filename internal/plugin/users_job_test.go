// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestJobsThatAreOver: a Job that has failed for good is as little a user as one that is done. Only the latter has a
// completion time.
func TestJobsThatAreOver(t *testing.T) {
	for _, tc := range []struct {
		reason     string
		conditions []batchv1.JobCondition
		want       bool
	}{
		{"it runs", nil, false},
		{"it is done", []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}, true},
		{"it has failed", []batchv1.JobCondition{
			{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue}, {Type: batchv1.JobFailed, Status: corev1.ConditionTrue},
		}, true},
		{"it is suspended", []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}, false},
		{"it has not failed", []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionFalse}}, false},
	} {
		if got := isOver(&batchv1.Job{Status: batchv1.JobStatus{Conditions: tc.conditions}}); got != tc.want {
			t.Errorf("%s: over %t", tc.reason, got)
		}
	}
}
