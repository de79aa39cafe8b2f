// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestWrongRelease(t *testing.T) {
	for _, tc := range []struct {
		reason string
		args   []string
		says   string
	}{
		{"a flag of the controller", []string{"release", "--leader-elect=false"}, "leader-elect"},
		{"an argument", []string{"release", "now"}, `unexpected argument "now"`},
		{"no time", []string{"release", "--timeout", "0s"}, "--timeout must be positive"},
		{"a namespace that can't be", []string{"release", "--watch-namespaces", "a, b"}, `--watch-namespaces: want names`},
		{"of the controller, too", []string{"--watch-namespaces", "a,a"}, "--watch-namespaces: a is named twice"},
		{"it is the first word", []string{"--leader-elect", "release"}, `unexpected argument "release"`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), tc.args, noEnv, &out, &out)
			if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), tc.says) || out.Len() > 0 {
				t.Errorf("got error %v and output %q, want a wrong usage that says %q", err, out.String(), tc.says)
			}
		})
	}
}

// TestByHand: what people are told to do is what the policy lets them do, with no other keys than this release's.
func TestByHand(t *testing.T) {
	const marked = `"annotations":{"letmepost.dev/unconfirmed":"true"}`
	all, some := byHand(nil), byHand([]string{"a", "b"})
	if !strings.Contains(all, marked) || !strings.Contains(all, "--all-namespaces") {
		t.Error(all)
	}
	if !strings.Contains(some, marked) || strings.Contains(some, "--all-namespaces") || !strings.Contains(some, "in a b; do") {
		t.Error(some)
	}
}

func TestReleaseHelp(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"release", "--help"}, noEnv, &out, &out); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("got error %v, want pflag.ErrHelp", err)
	}
	for _, part := range []string{"letmepost.dev/revocation", "--kubeconfig", "--namespace ", "--watch-namespaces", "--timeout"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("--help does not mention %s", part)
		}
	}
}
