// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"strings"
	"testing"
)

// TestVerbsByRole: each verb, as each of the people that the chart has roles for: who may not is told so, and by what
// to find out what they may. There is no controller, so that what is minted is not served: that is 4.
func TestVerbsByRole(t *testing.T) {
	const done, refused, asked = 0, 3, 4
	w := newWorld(t)
	w.create(w.keyOf("lmp-backend"))
	people := []string{"viewer", "revoker", "nobody", "minter"} // whose new keys others would find, and so comes last
	for _, c := range []struct {
		verb     string
		statuses [4]int // of the people, in that order
	}{
		{"list", [4]int{done, done, refused, done}},
		{"mint lmp-made -e test --timeout 1ms", [4]int{refused, refused, refused, asked}},
		{"mint made -e test --show-once --stdout --timeout 1ms", [4]int{refused, refused, refused, asked}},
		{"revoke lmp-backend --dry-run", [4]int{refused, done, refused, refused}},
		{"revoke lmp-backend --dry-run --cancel-scheduled", [4]int{refused, done, refused, refused}},
		{"rotate lmp-backend --timeout 1ms", [4]int{refused, refused, refused, asked}},
		{"who-uses lmp-backend", [4]int{done, done, refused, done}},
		{"whoami", [4]int{done, done, done, done}},
		{"doctor", [4]int{done, done, done, done}},
		{"completion", [4]int{done, done, done, done}},
	} {
		for i, role := range people {
			t.Run(role+" "+c.verb, func(t *testing.T) {
				w := w.of(t)
				r := w.run(role, strings.Fields(c.verb)...)
				texts := []string{}
				if c.statuses[i] == refused {
					texts = []string{"forbidden", "kubectl letmepost whoami"}
				}
				r.expect(t, c.statuses[i], texts...)
				if strings.Contains(r.out, "WRONG") {
					t.Errorf("what %s may not look at is wrong:\n%s", role, r.out)
				}
			})
		}
	}
}

// TestUnknownVerb: a verb that there is not is a wrong command line, as a wrong flag is; none at all asks for help.
func TestUnknownVerb(t *testing.T) {
	runWith(t.Context(), nil).expect(t, 0, "Available Commands:", "revoke")
	runWith(t.Context(), nil, "lst").expect(t, 2, `there is no verb "lst"; did you mean list?`)
	runWith(t.Context(), nil, "delete", "backend").expect(t, 2, `there is no verb "delete"; did you mean revoke?`)
	runWith(t.Context(), nil, "frobnicate").expect(t, 2, `there is no verb "frobnicate"; see kubectl letmepost --help`)
	runWith(t.Context(), nil, "--nonsense").expect(t, 2, "unknown flag")
}
