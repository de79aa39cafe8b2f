// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"os"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// docs/http-api.md names the rules that clients have to know.
func TestPageNamesTheRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range []*problem.Problem{errNotCancelable, errNotRetryable, errScheduledAt, errScheduledLate} {
		if !strings.Contains(string(page), "`"+named.Rule+"`") {
			t.Errorf("the rule %s is not on the page", named.Rule)
		}
	}
	// Each quota has words, and a row.
	for _, r := range store.Resources {
		p := ErrQuota(&store.QuotaError{Resource: r, Quota: 7, Used: 5})
		for _, want := range []string{"at most 7 ", "It has 5.", "Nothing was stored"} {
			if !strings.Contains(p.Message, want) {
				t.Errorf("%s: %q is not in %q", r, want, p.Message)
			}
		}
		if quotaWords[r].makeRoom == "" || !strings.Contains(string(page), "| `"+p.Rule+"` |") {
			t.Errorf("%s has no words, or no row on the page", r)
		}
	}
}
