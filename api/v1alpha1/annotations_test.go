// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// TestCancelsScheduled: whoever has set it in whatever words for true is understood, and a slip does not let the posts
// of a leaked key out.
func TestCancelsScheduled(t *testing.T) {
	for want, values := range map[bool][]string{
		true: {
			"true", "True", "TRUE", "t", "yes", "YES", "y", "on", "On", "1", "true ", " true", "\ttrue\n",
			"treu", "2", "please",
		},
		false: {"", " ", "false", "False", "FALSE ", "f", "no", "N", "off", "0"},
	} {
		for _, value := range values {
			annotations := map[string]string{v1alpha1.AnnotationCancelScheduled: value}
			if got := v1alpha1.CancelsScheduled(annotations); got != want {
				t.Errorf("%q: cancels %t, want %t", value, got, want)
			}
		}
	}
	if v1alpha1.CancelsScheduled(nil) || v1alpha1.CancelsScheduled(map[string]string{"example.com/x": "true"}) {
		t.Error("it cancels without being asked to")
	}
}
