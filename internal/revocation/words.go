// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"fmt"
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// awaiting is how a message begins that says how many replicas are awaited. It is written and read here alone.
const awaiting = "Waiting for %d of %d API replicas to confirm that they refuse the key: "

// Message says whom a deletion waits for. It names a few replicas only: a condition's message is for people. Each is a
// Lease and its pod, which is where an operator looks next.
func (v Verdict) Message() string {
	const most = 8
	if len(v.Awaited) == 0 {
		return fmt.Sprintf("No API replica accepts the key. Waiting for one of the %s environment to cancel "+
			"what the key has queued; to delete it without that, remove its annotation %s",
			v.Uncanceled, v1alpha1.AnnotationCancelScheduled)
	}
	names := v.Awaited
	if len(names) > most {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", len(v.Awaited)-most))
	}
	return fmt.Sprintf(awaiting, len(v.Awaited), v.Replicas) + strings.Join(names, ", ")
}

// Progress reads from a Message how many of how many replicas have refused the key, and the names of those that are
// awaited. It returns false for a message that does not say.
func Progress(message string) (refused, replicas int, names string, ok bool) {
	var awaited int
	if _, err := fmt.Sscanf(message, awaiting, &awaited, &replicas); err != nil || awaited > replicas {
		return 0, 0, "", false
	}
	return replicas - awaited, replicas, strings.TrimPrefix(message, fmt.Sprintf(awaiting, awaited, replicas)), true
}
