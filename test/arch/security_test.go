// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// SECURITY.md names a test in one form: its file in backticks, and after it the names of tests, or the texts of specs
// in quotes, with commas between them.
var (
	testName = regexp.MustCompile(`Test[A-Z]\w*|"[^"]+"`)
	heldBy   = regexp.MustCompile("`([a-z0-9_/]+_test\\.go)` ((?:" + testName.String() + ")(?:, (?:" + testName.String() + "))*)")
	testFile = regexp.MustCompile(`[\w/]+_test\.go|\bTest[A-Z]\w*`)
	somePath = regexp.MustCompile("`((?:internal|cmd|test|hack|api|charts|docs)/[a-zA-Z0-9_./-]+)`|\\]\\(([^)#:]+)(?:#[^)]*)?\\)")
	promise  = regexp.MustCompile(`(?m)^- `)
	wrapped  = regexp.MustCompile(`\n +`)
	unheld   = "\n### What no test holds\n"
)

// TestSecurityNamesItsTests: whoever reads a promise finds the test that holds it. Whether it does hold it is for
// people to see; that it is there, and that no promise is without one, is seen here.
func TestSecurityNamesItsTests(t *testing.T) {
	page, err := os.ReadFile(kube.Path("SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	named, wrong := wrongIn(string(page))
	for _, what := range wrong {
		t.Errorf("SECURITY.md: %s", what)
	}
	if named < 50 {
		t.Errorf("only %d tests were found on the page", named)
	}
}

// wrongIn says what a page names that is not there, and which promise of it names no test.
func wrongIn(page string) (named int, wrong []string) {
	for _, m := range somePath.FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(kube.Path(filepath.FromSlash(m[1] + m[2]))); err != nil {
			wrong = append(wrong, m[1]+m[2]+" is not there")
		}
	}
	page = wrapped.ReplaceAllString(page, " ") // a name may go on in the next line
	for _, m := range heldBy.FindAllStringSubmatch(page, -1) {
		source, err := os.ReadFile(kube.Path(filepath.FromSlash(m[1])))
		if err != nil {
			continue // said above
		}
		for _, name := range testName.FindAllString(m[2], -1) {
			named++
			if !isTest(string(source), name) {
				wrong = append(wrong, fmt.Sprintf("%s has no test %s", m[1], name))
			}
		}
	}
	for _, stray := range testFile.FindAllString(heldBy.ReplaceAllString(page, ""), -1) {
		wrong = append(wrong, stray+" is not named in the form `file` Test, \"spec\"")
	}
	_, promises, _ := strings.Cut(page, "\n## What is promised\n")
	promises, _, found := strings.Cut(promises, unheld)
	if !found {
		wrong = append(wrong, "there is no list of promises before what no test holds")
	}
	for i, text := range promise.Split(promises, -1) {
		if i > 0 && !heldBy.MatchString(text) {
			first, _, _ := strings.Cut(text, "\n")
			wrong = append(wrong, "a promise without a test: "+first)
		}
	}
	return named, wrong
}

// isTest tells whether a file has a test of that name, or a spec of that text.
func isTest(source, name string) bool {
	pattern := `(?m)^func ` + name + `\(t \*testing\.T\)`
	if strings.HasPrefix(name, `"`) {
		pattern = `\b(Describe|DescribeTable|It|Entry)\(` + regexp.QuoteMeta(name)
	}
	return regexp.MustCompile(pattern).MatchString(source)
}

// TestSecurityIsRead: the reading above would pass everything if it saw nothing.
func TestSecurityIsRead(t *testing.T) {
	const held = "- **A.** It holds,\n  as [this](README.md#x) says.\n  - `test/arch/security_test.go` TestSecurityIsRead\n"
	for _, tc := range []struct {
		reason, promises string
		want             []string
	}{
		{"all is well", held, nil},
		{"specs, in two lines", held + "- B\n  - `test/chart/quota_test.go` \"bounds the ApiKeys of one\n    organization, and says so\",\n    \"A ResourceQuota as docs/operations.md has it\"\n", nil},
		{"a test that is not there", held + "- B\n  - `test/arch/map_test.go` TestTheMapIsTrue, TestTheMap\n", []string{"test/arch/map_test.go has no test TestTheMap"}},
		{"a spec that is not there", held + "- B\n  - `test/chart/quota_test.go` \"bounds the ApiKeys\"\n", []string{`test/chart/quota_test.go has no test "bounds the ApiKeys"`}},
		{"a text of another kind", held + "- B\n  - `test/chart/quota_test.go` \"key-\"\n", []string{`test/chart/quota_test.go has no test "key-"`}},
		{"a file that is not there", held + "- B\n  - `test/arch/no_test.go` TestNothing\n", []string{"test/arch/no_test.go is not there"}},
		{"a page that is not there", held + "- B [x](docs/none.md)\n  - `test/arch/map_test.go` TestTheMapIsTrue\n", []string{"docs/none.md is not there"}},
		{"a promise without a test", "- B\n  is bold.\n" + held, []string{"a promise without a test: B is bold."}},
		{"another form", held + "- B (TestC)\n  - `test/arch/map_test.go` TestTheMapIsTrue\n", []string{"TestC is not named in the form `file` Test, \"spec\""}},
	} {
		_, got := wrongIn("# Security\n\n## What is promised\n\n" + tc.promises + unheld)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.reason, got, tc.want)
		}
	}
	if _, got := wrongIn("# Security\n"); len(got) != 1 {
		t.Errorf("no promises at all: %q", got)
	}
}
