// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
)

// CancelsScheduled tells whether the deletion of an ApiKey with these annotations is to cancel what the key has queued.
//
// The chart's policies let nothing but words for true be set. Where they are not installed, a word that is neither for
// true nor for false is most likely a slip in the worst hour: the posts of a key that has leaked must not go out for
// it.
func CancelsScheduled(annotations map[string]string) bool {
	value, set := annotations[AnnotationCancelScheduled]
	if !set {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "false", "f", "no", "n", "off", "0":
		return false
	default:
		return true
	}
}

// AwaitsCancellation tells whether k says that no replica accepts its key any more, and that what the key has queued is
// to be canceled now.
func AwaitsCancellation(k *ApiKey) bool {
	c := meta.FindStatusCondition(k.Status.Conditions, ConditionRevoking)
	return c != nil && c.Reason == ReasonAwaitingCancellation && !k.DeletionTimestamp.IsZero() &&
		CancelsScheduled(k.Annotations)
}
