// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const markdown = "# Title\n```sh\nnot this\n```\n## A tour\nWords.\n\n```sh\nA=one\necho $A  # => one\n\nfalse # not an expectation  # => \n```\n" +
	"```sh\necho two\necho \\\n  three  # => three\n```\n## Next\n```sh\nnor this\n```\n"

func TestReadTour(t *testing.T) {
	good := strings.Replace(markdown, "  # => \n", "\n", 1)
	got, err := readTour(good, "A tour")
	if err != nil {
		t.Fatal(err)
	}
	want := []step{{"A=one", ""}, {"echo $A", "one"}, {"false # not an expectation", ""}, {"echo two", ""}, {"echo \\\n  three", "three"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Error(diff)
	}
	for reason, text := range map[string]string{
		"nothing is expected":     markdown,
		"there is no section":     strings.Replace(good, "## A tour", "## A walk", 1),
		"a block is not run":      strings.Replace(good, "```sh\necho two", "```\necho two", 1),
		"the section has no code": "## A tour\nWords.\n",
		"a command has no end":    strings.Replace(good, "  three  # => three", "  three \\", 1),
	} {
		if steps, err := readTour(text, "A tour"); err == nil {
			t.Errorf("%s: got %v and no error", reason, steps)
		}
	}
}

func TestReadTourOfWholePage(t *testing.T) {
	got, err := readTour("```sh\necho one\n```\n# Title\n```\nno\n```\n```json\n{}\n```\n## A tour\n```sh\necho \\\n  two\n```\n", wholePage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]step{{"echo one", ""}, {"echo \\\n  two", ""}}, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Error(diff)
	}
}

func TestCheckTour(t *testing.T) {
	for _, tc := range []struct {
		reason string
		steps  []step
		wrong  string // "" if nothing is
	}{
		{"as expected", []step{{"echo one", "one"}, {"true", ""}}, ""},
		{"variables last", []step{{"A=one", ""}, {"echo $A", "one"}}, ""},
		{"over two lines", []step{{"echo one \\\n  two", "one two"}}, ""},
		{"no line feed at the end", []step{{"printf 401", "401"}, {"true", ""}}, ""},
		{"errors are output as well", []step{{"echo no >&2; false", "no"}}, ""},
		{"another output", []step{{"echo two", "one"}}, `should contain "one"`},
		{"a failure that is not expected", []step{{"false", ""}}, "failed with 1"},
		{"a later step", []step{{"false", ""}, {"echo two", "one"}}, `should contain "one"`},
		{"an end too soon", []step{{"true", ""}, {"exit 0", ""}, {"true", ""}}, "not run to its end"},
		{"the output of another step", []step{{"echo one", "one"}, {"true", "one"}}, `should contain "one"`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			output, _ := exec.Command("bash", "-c", "exec 2>&1\n"+script(tc.steps)).Output()
			err := checkTour(tc.steps, string(output))
			if tc.wrong == "" && err != nil {
				t.Error(err)
			}
			if tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("got %v, want %q", err, tc.wrong)
			}
		})
	}
}
