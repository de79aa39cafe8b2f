// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"
)

// TestAuditIsComplete: however many keys are revoked in a second, each has its line.
func TestAuditIsComplete(t *testing.T) {
	var out bytes.Buffer
	audit := newAudit(&out)
	const many = 2000
	for i := range many {
		audit.Info("Key revoked", "key", i)
	}
	if lines := bytes.Count(out.Bytes(), []byte("\n")); lines != many {
		t.Errorf("%d of %d lines were written", lines, many)
	}
}
