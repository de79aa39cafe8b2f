// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// TestScopes takes every set of scopes there is to a Scopes and back.
func TestScopes(t *testing.T) {
	all := v1alpha1.Scopes
	for bits := range 1 << len(all) {
		var names []v1alpha1.Scope
		var want []string
		for i, scope := range all {
			if bits&(1<<i) != 0 {
				names, want = append(names, scope), append(want, string(scope))
			}
		}
		slices.Reverse(names) // in whatever order they are asked for
		s := caller.ScopesOf(append(names, names...))
		if got := s.Names(); got == nil || !slices.Equal(got, want) {
			t.Errorf("%v became %v", names, got)
		}
		if got := s.String(); got != strings.Join(want, " ") {
			t.Errorf("%v reads %q", names, got)
		}
		for i, scope := range all {
			if s.Has(scope) != (bits&(1<<i) != 0) {
				t.Errorf("%v: Has(%s) = %t", names, scope, s.Has(scope))
			}
		}
	}
	if got := caller.ScopesOf(all[:]); got != caller.AllScopes {
		t.Errorf("AllScopes is %s, all of them are %s", caller.AllScopes, got)
	}
}

// TestUnknownScopes: a scope of a later release, or a misspelt one, grants nothing.
func TestUnknownScopes(t *testing.T) {
	for _, name := range []v1alpha1.Scope{"", "posts", "posts:READ", "admin:write"} {
		if got := caller.ScopesOf([]v1alpha1.Scope{name}); got != 0 {
			t.Errorf("%q is %s", name, got)
		}
		if caller.AllScopes.Has(name) {
			t.Errorf("who has all scopes has %q", name)
		}
	}
}
