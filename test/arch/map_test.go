// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// goFile and room are what the pages name in backticks: a file with its room or without, and a folder of this project.
var (
	goFile = regexp.MustCompile("`([a-z0-9_/]+\\.go)`")
	room   = regexp.MustCompile("`((?:internal|cmd|test|hack|api|charts|docs)/[a-zA-Z0-9_/-]+)`")
)

// TestTheMapIsTrue: the two pages by which a newcomer finds their way name files and folders that are there, and every
// room of internal/ stands on one of them.
func TestTheMapIsTrue(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := ""
	for _, page := range []string{"docs/architecture.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
		if err != nil {
			t.Fatal(err)
		}
		pages += string(text)
		for _, m := range goFile.FindAllStringSubmatch(string(text), -1) {
			if !exists(root, m[1]) {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
		for _, m := range room.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
	}
	ours, _ := list(t)
	for _, p := range ours {
		dir := p.inModule()
		if strings.Count(dir, "/") == 1 && within(dir, "internal") && !strings.Contains(pages, "`"+dir+"`") {
			t.Errorf("%s stands on no page: say in docs/architecture.md what it is for", dir)
		}
	}
}

// exists tells whether a file is there, from the root, below internal/, or, without a folder, in some room.
func exists(root, file string) bool {
	for _, pattern := range []string{file, "internal/" + file, "internal/*/" + file} {
		if found, _ := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern))); len(found) > 0 {
			return true
		}
	}
	return false
}
