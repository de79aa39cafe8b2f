// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller_test

import (
	"maps"
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// TestClaims: from an ApiKey to a header, and back. What could end the header, or a value in it, is left out.
func TestClaims(t *testing.T) {
	for _, c := range []struct {
		reason string
		claims map[string]v1alpha1.ClaimValue
		text   string
		kept   map[string]string
	}{
		{"none", nil, "", map[string]string{}},
		{"one", map[string]v1alpha1.ClaimValue{"plan": "gold"}, `plan="gold"`, map[string]string{"plan": "gold"}},
		{
			"several, by name",
			map[string]v1alpha1.ClaimValue{"plan": "a b", "customer": "42", "home": "https://a.dev/~x"},
			`customer="42", home="https://a.dev/~x", plan="a b"`,
			map[string]string{"plan": "a b", "customer": "42", "home": "https://a.dev/~x"},
		},
		{
			"some that the schema refuses", map[string]v1alpha1.ClaimValue{
				"plan": "gold", "x": `", admin="yes`, "y": "a\r\nX-Admin: yes", "Z": "z", "": "z", "v": "", "w": `a\`, "u": "{x}",
			}, `plan="gold"`, map[string]string{"plan": "gold"},
		},
		{"none but those", map[string]v1alpha1.ClaimValue{"x": `"`}, "", map[string]string{}},
	} {
		got := caller.ClaimsOf(c.claims)
		if got.String() != c.text || !maps.Equal(got.Map(), c.kept) || got.Map() == nil {
			t.Errorf("%s: %s, as a map %v; want %s", c.reason, got, got.Map(), c.text)
		}
		if got != caller.ClaimsOf(maps.Clone(c.claims)) || (got == caller.Claims{}) != (c.text == "") {
			t.Errorf("%s: the same claims are not equal", c.reason)
		}
	}
	for name, value := range caller.ClaimsOf(map[string]v1alpha1.ClaimValue{"a": "1", "b": "2"}).All() {
		if name != "a" || value != "1" {
			t.Errorf("%s=%s comes first", name, value)
		}
		break
	}
}
