// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package admission_test

import (
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Letting a good key in allocates nothing, with a rate of its own or without.
func TestAdmitAllocations(t *testing.T) {
	g := newGate(t)
	need := admission.Need{Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsRead}
	ctx := t.Context()
	for reason, header := range map[string][]string{
		"without a rate": g.key(t, key.Live),
		"with a rate":    g.key(t, key.Live, limited(1_000_000)),
	} {
		credentials := admission.Credentials{Authorization: header, From: from("192.0.2.1")}
		r := new(admission.Admitted) // it is part of what stands for the request
		n := testing.AllocsPerRun(500, func() {
			*r = admission.Admitted{}
			if g.Admit(ctx, now, credentials, need, r) != nil || r.End() != nil {
				t.Error("refused")
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations, want none", reason, n)
		}
	}
}
