// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// docs/http-api.md names what there is: every route, every code, and the pattern that finds keys.
func TestPageIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for i := range routes {
		if row := "| `" + routes[i].Method + "` | `" + routes[i].Path + "` |"; !strings.Contains(page, row) {
			t.Errorf("no row %s", row)
		}
	}
	for _, code := range []string{
		problem.CodeValidationFailed, problem.CodeUnauthenticated, problem.CodeUnauthorized, problem.CodeNotFound,
		problem.CodeInternalError, problem.CodeUnavailable, problem.CodeIdempotencyConflict, problem.CodeRateLimited, problem.CodeQuotaExceeded,
		platform.CodeRateLimited, platform.CodeNotEnabled, platform.CodePreflightFailed,
		platform.CodeAuthFailed, platform.CodeRejected, platform.CodeUnavailable,
	} {
		if !strings.Contains(page, "| `"+code+"` |") {
			t.Errorf("no row for the code %s", code)
		}
	}
	for _, magic := range sandbox.Magic {
		if !strings.Contains(page, "| `"+magic.Text+"` |") {
			t.Errorf("no row for the magic text %s", magic.Text)
		}
	}
	// Packages endpoint and posting look for their own rules.
	for _, named := range []*problem.Problem{errMediaInUse, errFileSize, errStorageFull} {
		if !strings.Contains(page, "`"+named.Rule+"`") {
			t.Errorf("the rule %s is not on the page", named.Rule)
		}
	}
	scanners, err := os.ReadFile("../../docs/scanners.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page, "](scanners.md)") || !strings.Contains(string(scanners), "```\n"+key.Pattern+"\n```") {
		t.Fatalf("neither the page nor that of scanners has the pattern %q", key.Pattern)
	}
	for _, env := range []key.Environment{key.Live, key.Test} {
		_, plaintext := authntest.Minted(t, authntest.Format(t), env)
		if found := regexp.MustCompile(key.Pattern).FindString(`token: "` + plaintext + `", next`); found != plaintext {
			t.Errorf("the rule finds %q of a %s key", found, env)
		}
	}
}
