// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

var (
	calledTest   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	declaredTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
)

// TestNamedTestsAreThere: whoever reads, on a page or in a comment, that a test holds something, finds that test. One
// that is renamed takes its mentions along. SECURITY.md is read more closely, file by file.
func TestNamedTestsAreThere(t *testing.T) {
	there, called := map[string]bool{}, map[string][]string{}
	for _, place := range append(slices.Clone(toldToPeople), "CHANGELOG.md", "test") {
		err := filepath.WalkDir(kube.Path(place), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !slices.Contains([]string{".md", ".go"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			if strings.HasSuffix(path, "_test.go") {
				for _, m := range declaredTest.FindAllStringSubmatch(string(text), -1) {
					there[m[1]] = true
				}
			}
			for _, name := range testsCalledIn(string(text), filepath.Ext(path) == ".go") {
				called[name] = append(called[name], path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, places := range called {
		if !there[name] {
			t.Errorf("there is no %s, which %s names", name, strings.Join(places, ", "))
		}
	}
	if len(called) < 100 {
		t.Errorf("%d names of tests were found, which can't be all", len(called))
	}
}

// testsCalledIn are the tests that a page names, or the comments of a program.
func testsCalledIn(text string, program bool) (names []string) {
	for line := range strings.Lines(text) {
		if program {
			code, comment, _ := strings.Cut(line, "//")
			if strings.ContainsAny(code, "\"`") { // the slashes may be those of an address
				continue
			}
			line = comment
		}
		names = append(names, calledTest.FindAllString(line, -1)...)
	}
	return names
}

func TestTestsCalledIn(t *testing.T) {
	for _, tc := range []struct {
		text    string
		program bool
		want    []string
	}{
		{"As `TestAudit` and FuzzParse show.\nTests hold it.", false, []string{"TestAudit", "FuzzParse"}},
		{"// TestAudit: it is.\nfunc TestOther(t) {}\nx() // as in BenchmarkHit", true, []string{"TestAudit", "BenchmarkHit"}},
		{"a := \"http://TestHost\"", true, nil},
	} {
		if got := testsCalledIn(tc.text, tc.program); !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q, want %q", tc.text, got, tc.want)
		}
	}
}
