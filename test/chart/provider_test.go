// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestDocumentedProvider: the values and the flags by which docs/dashboard.md has people sign in by an OpenID provider
// are the same to the API. test/integration signs somebody in with the flags.
func TestDocumentedProvider(t *testing.T) {
	t.Parallel()
	page := readRepo(t, "docs/dashboard.md")
	values := regexp.MustCompile("(?s)```yaml\n(dashboard:\n  oidc:\n.*?)```").FindStringSubmatch(page)
	flags := regexp.MustCompile("(?s)```sh\n(api --environment live .*?)```").FindStringSubmatch(page)
	if values == nil || flags == nil {
		t.Fatal("docs/dashboard.md has no values, or no flags, of a provider")
	}
	var documented map[string]any
	if err := yaml.UnmarshalStrict([]byte(values[1]), &documented); err != nil {
		t.Fatal(err)
	}
	given := map[string]bool{}
	live := helm(t, with(public, settings{"dashboard.oidc": dig(documented, "dashboard oidc")}))[liveAPI]
	_, all := command(live)
	for _, argument := range all {
		given[argument] = true
	}
	fields := strings.Fields(strings.ReplaceAll(flags[1], "\\\n", ""))[1:]
	if len(fields) != 12 {
		t.Errorf("%d flags and values: %q", len(fields), fields)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if want := fields[i] + "=" + fields[i+1]; !given[want] {
			t.Errorf("by the values, the API has no %s: %q", want, all)
		}
	}
}
