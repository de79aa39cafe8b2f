// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// maxLines is how long a file may be. Whoever opens one wants to know all of what its name says, and to see that they
// do: a longer file has two subjects, and hides one of them. Take the second out under a name of its own; to cut a file
// in the middle only makes two to open. What a generator writes is read by nobody, and counts for nothing.
const maxLines = 350

// maxColumns is how long a comment may be, and the head of a function, in tests as well: golangci-lint (lll) holds all
// other code to it. Code within tests may be longer, because a row of a table is read by comparing it with those above
// and below it, and a broken one can't be.
const maxColumns = 120

// generated is how a generator marks its files (https://go.dev/s/generatedcode).
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// TestFilesAreShort is for all code of this repository, tests and tools included.
func TestFilesAreShort(t *testing.T) {
	for file, text := range goFiles(t) {
		for _, found := range tooLong(text) {
			t.Errorf("%s: %s", file, found)
		}
	}
}

// goFiles are the files that people write, by their path from the root.
func goFiles(t *testing.T) map[string][]byte {
	t.Helper()
	root, files := kube.Path(""), map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules") {
			return filepath.SkipDir // what others made, or was built
		}
		if !entry.Type().IsRegular() || filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && !generated.Match(text) {
			inRoot, _ := filepath.Rel(root, path)
			files[filepath.ToSlash(inRoot)] = text
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 500 {
		t.Fatalf("there are %d files: these can't be all", len(files))
	}
	return files
}

// tooLong says what of a file is too long.
func tooLong(text []byte) (found []string) {
	lines := 0
	for line := range strings.Lines(string(text)) {
		lines++
		n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))
		if n > maxColumns && prose.MatchString(line) {
			found = append(found, fmt.Sprintf("line %d has %d columns, of which there may be %d", lines, n, maxColumns))
		}
	}
	if lines > maxLines {
		found = append(found, fmt.Sprintf("%d lines, of which there may be %d: a second subject?", lines, maxLines))
	}
	return found
}

// prose is a comment, but for directives and markers, which can't be broken; or the head of a function.
var prose = regexp.MustCompile(`^\s*// [^+]|^func `)

// TestTooLong: the rule sees what it is for.
func TestTooLong(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		want         int
	}{
		{"as long as it may be", strings.Repeat("x\n", maxLines), 0},
		{"a line too many", strings.Repeat("x\n", maxLines+1), 1},
		{"a row", strings.Repeat("x", 2*maxColumns), 0},
		{"a comment", "\t// " + strings.Repeat("ä", maxColumns-4), 0},
		{"too long a comment", "\t// " + strings.Repeat("ä", maxColumns-3), 1},
		{"a marker", "// +kubebuilder:" + strings.Repeat("x", maxColumns), 0},
		{"a directive", "//nolint:" + strings.Repeat("x", maxColumns), 0},
		{"the head of a function", "func f(" + strings.Repeat("x", maxColumns), 1},
		{"a comment behind a row", strings.Repeat("x", maxColumns) + " // why", 0},
	} {
		if got := tooLong([]byte(tc.text)); len(got) != tc.want {
			t.Errorf("%s: %q, want %d", tc.reason, got, tc.want)
		}
	}
}
