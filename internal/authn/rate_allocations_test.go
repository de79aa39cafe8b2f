// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package authn_test

import (
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// What every request passes allocates nothing.
func TestTakeAllocations(t *testing.T) {
	k, s := minted(t)
	id := served(t, authntest.Index(t, k), s, k)
	otherwise := rate.Rate{Requests: 100, Window: time.Hour} // allowed first, then refused
	scope := v1alpha1.ScopeMediaWrite
	n := testing.AllocsPerRun(500, func() {
		c := id.Caller()
		c.Meter.Take(c.RateOr(otherwise), now)
		if !c.Scopes.Has(scope) {
			t.Error("it has not all scopes")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
