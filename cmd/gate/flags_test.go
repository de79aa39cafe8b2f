// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// TestEnvironments: whose keys may pass.
func TestEnvironments(t *testing.T) {
	for args, want := range map[string][]key.Environment{
		"":                   {key.Live},
		"--environment=live": {key.Live},
		"--environment=test": {key.Test},
		"--environment=both": {key.Live, key.Test},
	} {
		o, err := parse(strings.Fields(args), func(string) string { return "" }, io.Discard)
		if err != nil || !slices.Equal(o.environments, want) {
			t.Errorf("%q: %v, %v; want %v", args, o.environments, err, want)
		}
	}
}

// TestWrongCalls: each names the flag that is wrong.
func TestWrongCalls(t *testing.T) {
	for _, args := range []string{
		"--environment=prod", "--log-level=loud", "--default-rate-limit=fast", "--max-organization-keys=-1",
		"--max-connections=9", "--drain-delay=-1s", "--drain-timeout=0", "--lease-duration=1ms",
	} {
		_, err := parse([]string{args}, func(string) string { return "" }, io.Discard)
		flag, _, _ := strings.Cut(args, "=")
		if !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestMostKeys: as many as the API holds, with room for those that two controllers which overlap have both minted.
func TestMostKeys(t *testing.T) {
	for args, want := range map[string]int{
		"":                             lifecycle.DefaultKeyQuota + lifecycle.KeySlack,
		"--max-organization-keys=5":    5 + lifecycle.KeySlack,
		"--max-organization-keys=none": 0,
	} {
		o, err := parse(strings.Fields(args), func(string) string { return "" }, io.Discard)
		if err != nil || o.keys.Most != want {
			t.Errorf("%q: %d, %v; want %d", args, o.keys.Most, err, want)
		}
	}
}
