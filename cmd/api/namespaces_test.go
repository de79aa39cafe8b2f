// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

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
