// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNamespaces(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         []string
		wrong        string // in the error
	}{
		{"all", "", nil, ""},
		{"one", "team-a", []string{"team-a"}, ""},
		{"several, in their order", "team-b,team-a,0", []string{"team-b", "team-a", "0"}, ""},
		{"a blank", "team-a, team-b", nil, `" team-b" is not such a name`},
		{"nothing between commas", "team-a,,team-b", nil, `"" is not such a name`},
		{"a comma at the end", "team-a,", nil, `"" is not such a name`},
		{"upper case", "Team", nil, `"Team" is not such a name`},
		{"a dot", "team.a", nil, `"team.a" is not such a name`},
		{"too long", strings.Repeat("a", 64), nil, "is not such a name"},
		{"twice", "a,b,a", nil, "a is named twice"},
	} {
		got, err := ParseNamespaces(tc.text)
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
			t.Errorf("%s: error %v, (-want +got):\n%s", tc.reason, err, diff)
		}
	}
}
