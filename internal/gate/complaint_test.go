// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/gate"
)

// TestComplaintsOfIntrospection: what lasts is complained of once, also while it is known who asks.
func TestComplaintsOfIntrospection(t *testing.T) {
	f := newWorld(t)
	var log bytes.Buffer
	i, err := gate.NewIntrospection(f.gate, services, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	said := func(times int, what string) {
		t.Helper()
		if got := strings.Count(log.String(), "can't ask the apiserver"); got != times {
			t.Errorf("%s: said %d times, want %d:\n%s", what, got, times, &log)
		}
	}
	for range 3 {
		introspecting(i, awayLater, "", "token=x")
	}
	said(1, "what they may")
	introspecting(i, "everywhere", "", "token=x")
	for range 3 {
		introspecting(i, away, "", "token=x")
	}
	said(2, "who they are, after an answer")
}
