// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"os"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

// docs/http-api.md names the rules that clients have to know.
func TestPageNamesTheRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range []*problem.Problem{errNotCancelable, errNotRetryable, errScheduledAt} {
		if !strings.Contains(string(page), "`"+named.Rule+"`") {
			t.Errorf("the rule %s is not on the page", named.Rule)
		}
	}
}
