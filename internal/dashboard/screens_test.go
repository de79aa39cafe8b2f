// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// TestNothingHidesAName: what is called like a word of an address has its page all the same. Where an address may have
// a name or an id, no other address has a word, but "-", which nothing can be called.
func TestNothingHidesAName(t *testing.T) {
	screens := dashboard.Screens(new(dashboard.Dashboard))
	// What stands in front of a name in some address. An address has a word behind it instead, which may be one.
	named := map[string]string{}
	for _, s := range screens {
		parts := strings.Split(s.Path, "/")
		for i, part := range parts {
			if strings.HasPrefix(part, "{") && part != "{$}" {
				named[strings.Join(parts[:i], "/")] = s.Path
			}
		}
	}
	words := 0
	for _, s := range screens {
		parts := strings.Split(s.Path, "/")
		for i, part := range parts {
			of := named[strings.Join(parts[:i], "/")]
			if of == "" || strings.HasPrefix(part, "{") {
				continue
			}
			if words++; part != "-" {
				t.Errorf("%s %s hides what is called %q from %s", s.Method, s.Path, part, of)
			}
		}
	}
	if len(named) < 5 || words < 5 {
		t.Errorf("only %d places of names and %d words were looked at", len(named), words)
	}
}
