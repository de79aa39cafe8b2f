// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"strings"
	"testing"
)

// TestWhoami: what it says that somebody may do is what the roles give.
func TestWhoami(t *testing.T) {
	w := newWorld(t)
	all := []string{
		"see keys", "watch keys", "mint test keys", "mint live keys", "choose any name for their Secrets",
		"cancel what a key has scheduled", "revoke keys", "see which Pods have keys", "read keys out of their Secrets",
	}
	for role, may := range map[string][]string{
		"viewer":  {"see keys", "watch keys"},
		"minter":  {"see keys", "watch keys", "mint test keys", "mint live keys", "cancel what a key has scheduled"},
		"revoker": {"see keys", "watch keys", "cancel what a key has scheduled", "revoke keys"},
		"nobody":  {},
	} {
		r := w.run(role, "whoami")
		r.expect(t, 0, "system:serviceaccount:"+w.namespace+":"+role, "namespace "+w.namespace)
		for _, deed := range all {
			want := "no"
			for _, d := range may {
				if d == deed {
					want = "yes"
				}
			}
			if got := answerTo(r.out, deed); got != want {
				t.Errorf("may a %s %s? It says %q, want %q", role, deed, got, want)
			}
		}
	}
	w.run("viewer", "whoami", "-o", "json").expect(t, 0, `"kind": "SelfSubjectReview"`)
	w.run("viewer", "whoami", "extra").expect(t, 2, "unknown command")
}

// answerTo finds the answer to a deed.
func answerTo(out, deed string) string {
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, deed+" "); ok {
			return strings.Fields(rest)[0]
		}
	}
	return ""
}
