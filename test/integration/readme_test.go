// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"errors"
	"fmt"
	"strings"
)

// step is one command of a tour, and what its output must contain; "" if nothing is said of that.
type step struct {
	command, expect string
}

const expectation = "# =>"

// wholePage stands for all sections of a Markdown file.
const wholePage = ""

// readTour reads the commands in the ```sh blocks of a section of a Markdown file. A command is one line, or several
// that end with a backslash but for the last, and is followed by what to expect of it as a comment: `# => TEXT`. A
// section has no other blocks, so that none is left out by a slip; those of a whole page are not run.
func readTour(markdown, section string) (steps []step, err error) {
	inSection, block, begun := section == wholePage, "", ""
	for line := range strings.Lines(markdown) {
		line = strings.TrimRight(line, "\n")
		switch {
		case block != "" && strings.HasPrefix(line, "```"):
			if block = ""; begun != "" {
				return nil, fmt.Errorf("in the tour, a block ends in the middle of a command: %q", begun)
			}
		case block == "```sh" && inSection && strings.HasSuffix(line, `\`):
			begun += line + "\n"
		case block == "```sh" && inSection && strings.TrimSpace(line) != "":
			s, err := readStep(begun + line)
			if err != nil {
				return nil, err
			}
			steps, begun = append(steps, s), ""
		case block != "":
		case strings.HasPrefix(line, "```"):
			block = line
			if inSection && section != wholePage && line != "```sh" {
				return nil, fmt.Errorf("in the tour, a block begins with %q: only ```sh is run", line)
			}
		case strings.HasPrefix(line, "#") && section != wholePage:
			inSection = strings.TrimSpace(strings.TrimLeft(line, "#")) == section
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("there is no tour: no ```sh block in a section %q", section)
	}
	return steps, nil
}

func readStep(text string) (step, error) {
	command, expect, found := strings.Cut(text, expectation)
	s := step{strings.TrimSpace(command), strings.TrimSpace(expect)}
	if found && (s.command == "" || s.expect == "") {
		return s, fmt.Errorf("in the tour, %q expects something of nothing, or nothing of something", text)
	}
	return s, nil
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
