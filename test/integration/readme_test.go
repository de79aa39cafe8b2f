// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"errors"
	"fmt"
	"strings"
)

// step is one line of a tour: a command, and what its output must contain; "" if nothing is said of that.
type step struct {
	command, expect string
}

const expectation = "# =>"

// readTour reads the lines in the ```sh blocks of a section of a Markdown file. A command is followed by what to expect
// of it as a comment: `# => TEXT`.
func readTour(markdown, section string) (steps []step, err error) {
	inSection, inBlock := false, false
	for line := range strings.Lines(markdown) {
		line = strings.TrimRight(line, "\n")
		switch {
		case inBlock && strings.HasPrefix(line, "```"):
			inBlock = false
		case inBlock && inSection && strings.TrimSpace(line) != "":
			command, expect, found := strings.Cut(line, expectation)
			s := step{strings.TrimSpace(command), strings.TrimSpace(expect)}
			if found && (s.command == "" || s.expect == "") {
				return nil, fmt.Errorf("in the tour, %q expects something of nothing, or nothing of something", line)
			}
			steps = append(steps, s)
		case inBlock:
		case strings.HasPrefix(line, "```"):
			inBlock = true
			if inSection && line != "```sh" {
				return nil, fmt.Errorf("in the tour, a block begins with %q: only ```sh is run", line)
			}
		case strings.HasPrefix(line, "#"):
			inSection = strings.TrimSpace(strings.TrimLeft(line, "#")) == section
		}
	}
	if len(steps) == 0 {
		return nil, errors.New("there is no tour: no ```sh block in a section " + section)
	}
	return steps, nil
}

// Each step's output begins and ends with a line of its own.
const (
	beginMark = "--- begin of step "
	endMark   = "--- end of step "
)

// script makes one bash script of the steps, as if they were typed one after the other: a variable set in one is there
// in the next, and one that fails does not keep the next from being run.
func script(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&b, "echo '%s%d'\n%s\nprintf '\\n%s%d: %%d\\n' $?\n", beginMark, i, s.command, endMark, i)
	}
	return b.String()
}

// checkTour compares what the script has printed with what the steps expect. It lists all that is wrong.
func checkTour(steps []step, output string) error {
	var wrong []error
	for i, s := range steps {
		_, rest, began := strings.Cut(output, fmt.Sprintf("%s%d\n", beginMark, i))
		got, end, ended := strings.Cut(rest, fmt.Sprintf("\n%s%d: ", endMark, i))
		status, _, _ := strings.Cut(end, "\n")
		switch {
		case !began || !ended:
			wrong = append(wrong, fmt.Errorf("$ %s\nwas not run to its end", s.command))
		case s.expect == "" && status != "0":
			wrong = append(wrong, fmt.Errorf("$ %s\n%s\nfailed with %s, and nothing is said of that", s.command, got, status))
		case !strings.Contains(got, s.expect):
			wrong = append(wrong, fmt.Errorf("$ %s\n%s\nshould contain %q", s.command, got, s.expect))
		}
	}
	return errors.Join(wrong...)
}
