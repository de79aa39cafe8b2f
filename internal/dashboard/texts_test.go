// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// asked finds the texts that a template asks for; named, what may be the key of a text in Go.
var (
	asked = regexp.MustCompile(`\bt "([^"]+)"`)
	named = regexp.MustCompile(`"([a-z][A-Za-z]*\.[A-Za-z.]+)"`)
)

// TestTexts: each text that is asked for is there, and each that is there is asked for.
func TestTexts(t *testing.T) {
	content, err := os.ReadFile("texts.yaml")
	check(t, err)
	texts := map[string]string{}
	check(t, yaml.Unmarshal(content, &texts)) // which also refuses a key that is there twice
	used := map[string]bool{}
	for _, pattern := range []string{"*.go", "templates/*.html", "templates/shared/*.html"} {
		files, err := filepath.Glob(pattern)
		check(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			check(t, err)
			for _, found := range asked.FindAllStringSubmatch(string(source), -1) {
				if _, ok := texts[found[1]]; !ok {
					t.Errorf("%s asks for %s, which is not in texts.yaml", file, found[1])
				}
				used[found[1]] = true
			}
			for _, found := range named.FindAllStringSubmatch(string(source), -1) {
				used[found[1]], used[found[1]+"Next"] = true, true // a problem has what to do next beside it
			}
		}
	}
	for name, text := range texts {
		if !used[name] {
			t.Errorf("nothing shows %s: %q", name, text)
		}
	}
}

// TestTextsWithValues: each value is put in once, where the text has a place for it, whatever it is.
func TestTextsWithValues(t *testing.T) {
	for _, c := range []struct {
		key    string
		values []any
		want   string
	}{
		{"key.usedFiles", []any{"/etc/{}", "main"}, "files below /etc/{} in container main"},
		{"overview.reconnect", []any{"{}{}", "{}"}, "The account {}{} ({}) has to be connected again. What is queued for it waits."},
		{"keys.fromTo", []any{1, 50, int64(70)}, "1 to 50 of 70"},
		{"keys.fromTo", []any{"{}"}, "{} to {} of {}"},
		{"keys.any", []any{"more than there is room for"}, "Any"},
		{"nothing.of", []any{"this"}, "⟦nothing.of⟧"},
	} {
		if got := dashboard.Text(c.key, c.values...); got != c.want {
			t.Errorf("%s with %q is %q, want %q", c.key, c.values, got, c.want)
		}
	}
}
