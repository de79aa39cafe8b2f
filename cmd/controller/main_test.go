// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func noEnv(string) string { return "" }

func TestWrongUsage(t *testing.T) {
	for _, tc := range []struct {
		reason string
		args   []string
		says   string
	}{
		{"a flag that is not there", []string{"--nope"}, "nope"},
		{"an argument", []string{"live"}, `unexpected argument "live"`},
		{"no keys at all", []string{"--max-organization-keys", "0"}, "--max-organization-keys: want a number from 1 on, or none"},
		{"nobody to reconcile", []string{"--concurrency", "0"}, "--concurrency must be at least 1"},
		{"a Secret looked for without a pause", []string{"--secret-recheck-interval", "1ms"}, "--secret-recheck-interval must be at least 1s"},
		{"a prefix that no scanner would find", []string{"--key-prefix", "l-m-p"}, "--key-prefix"},
		{"a level that is not there", []string{"--log-level", "loud"}, "--log-level"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), tc.args, noEnv, &out, &out)
			if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got error %v, want a wrong usage that says %q", err, tc.says)
			}
			if strings.Contains(err.Error(), "\n") || out.Len() > 0 {
				t.Errorf("want one line, got error %q and output %q", err, out.String())
			}
		})
	}
}

func TestNoCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	err := run(t.Context(), nil, noEnv, new(strings.Builder), new(strings.Builder))
	if err == nil || errors.Is(err, errUsage) || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("got error %v, want one that names --kubeconfig", err)
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parse([]string{"--help"}, noEnv, &out); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("got error %v, want pflag.ErrHelp", err)
	}
	for _, flag := range []string{"--kubeconfig", "--leader-elect ", "--live-base-url", "--test-base-url", "--secret-recheck-interval"} {
		if !strings.Contains(out.String(), flag) {
			t.Errorf("--help does not mention %s", flag)
		}
	}
}
