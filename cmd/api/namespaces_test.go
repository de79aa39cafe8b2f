// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

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
		{"a blank", "team-a, team-b", nil, `" team-b" is none`},
		{"nothing between commas", "team-a,,team-b", nil, `"" is none`},
		{"a comma at the end", "team-a,", nil, `"" is none`},
		{"upper case", "Team", nil, `"Team" is none`},
		{"a dot", "team.a", nil, `"team.a" is none`},
		{"too long", strings.Repeat("a", 64), nil, "is none"},
		{"twice", "a,b,a", nil, "a is named twice"},
	} {
		got, err := parseNamespaces(tc.text)
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
			t.Errorf("%s: error %v, (-want +got):\n%s", tc.reason, err, diff)
		}
	}
}

func TestWrongNamespacesAndFiles(t *testing.T) {
	for _, tc := range []struct {
		args, want string
		code       int
	}{
		{"--environment live --watch-namespaces a,a", "--watch-namespaces: a is named twice", 2},
		{"--environment live --tls-cert-file tls.crt", "want both, or none", 2},
		{"--environment live --tls-key-file tls.key", "want both, or none", 2},
		{"--environment live --tls-cert-file testdata/none --tls-key-file testdata/none", "TLS certificate: open testdata/none", 1},
	} {
		var out, stderr strings.Builder
		code := exitCode(run(t.Context(), strings.Fields(tc.args), noEnv, &out, &stderr), &stderr)
		if line := stderr.String(); code != tc.code || !strings.Contains(line, tc.want) || strings.Count(line, "\n") != 1 {
			t.Errorf("api %s: exit code %d, %q; want %d and one line with %q", tc.args, code, line, tc.code, tc.want)
		}
	}
}
