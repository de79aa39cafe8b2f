// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller_test

import (
	"encoding/json"
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
		if inJSON, err := json.Marshal(s.Names()); err != nil || s.JSON() != string(inJSON) {
			t.Errorf("%v is %s in JSON, want %s (%v)", names, s.JSON(), inJSON, err)
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
	for _, name := range []v1alpha1.Scope{
		"", "posts", "posts:READ", "admin:write", "letmepost.dev:admin", "a.dev:x\r\nb: c", "a.dev:x posts:read", "a.dev:X",
	} {
		if got := caller.ScopesOf([]v1alpha1.Scope{name}); got != (caller.Scopes{}) {
			t.Errorf("%q is %s", name, got)
		}
		if caller.AllScopes.Has(name) {
			t.Errorf("who has all scopes has %q", name)
		}
	}
}

// TestOwnScopes: scopes of somebody's own stand beside the API's, and grant what they say and nothing else.
func TestOwnScopes(t *testing.T) {
	named := []v1alpha1.Scope{"shop.example.com:order", "a.dev:x:y", v1alpha1.ScopePostsRead, "a.dev:x", "posts:raed", "a.dev:x"}
	s := caller.ScopesOf(named)
	want := []string{"posts:read", "a.dev:x", "a.dev:x:y", "shop.example.com:order"}
	if got := s.Names(); !slices.Equal(got, want) || s.String() != strings.Join(want, " ") {
		t.Errorf("%v, and as a text %q", got, s)
	}
	for scope, has := range map[v1alpha1.Scope]bool{
		"posts:read": true, "a.dev:x": true, "a.dev:x:y": true, "shop.example.com:order": true,
		"posts:write": false, "": false, " ": false, "a.dev:x a.dev:x:y": false, "a.dev": false, "dev:x": false,
		"a.dev:y": false, "hop.example.com:order": false, "shop.example.com:orders": false,
	} {
		if s.Has(scope) != has {
			t.Errorf("Has(%q) = %t", scope, !has)
		}
		if own := caller.ScopesOf([]v1alpha1.Scope{"a.dev:x"}); own.Has(scope) != (scope == "a.dev:x") {
			t.Errorf("who has a.dev:x alone: Has(%q) = %t", scope, own.Has(scope))
		}
		if scope != "posts:read" && scope != "posts:write" && caller.AllScopes.Has(scope) {
			t.Errorf("who has all scopes of the API has %q", scope)
		}
	}
	slices.Reverse(named)
	if caller.ScopesOf(named) != s || caller.ScopesOf(named[1:]) == caller.ScopesOf(named[3:]) {
		t.Error("sets are not equal exactly if they hold the same")
	}
	if got := s.JSON(); got != "" {
		t.Errorf("with scopes of somebody's own it is %s", got)
	}
	if allocated := testing.AllocsPerRun(100, func() { _, _ = s.String(), s.Has("shop.example.com:order") }); allocated > 0 {
		t.Errorf("asking for a scope allocates %v times", allocated)
	}
}

// TestScopesLength: it is as long as what it stands for.
func TestScopesLength(t *testing.T) {
	for _, names := range [][]v1alpha1.Scope{
		nil, {v1alpha1.ScopePostsRead}, v1alpha1.Scopes[:], {"a.dev:x"}, {v1alpha1.ScopePostsRead, "a.dev:x", "b.dev:y"},
	} {
		s := caller.ScopesOf(names)
		text, err := json.Marshal(s.Names())
		if err != nil || s.Length() != len(text) {
			t.Errorf("%v: %d, and is %s (%v)", names, s.Length(), text, err)
		}
	}
}
