// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/json"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// appLine is a line of what `app call` prints; see ./app.
type appLine struct {
	Status   int
	Error    string
	Counts   map[string]int // by status code, or "error"
	Unwanted int
	After    string
	Done     bool
}

// appLines reads the output of `app call`.
func appLines(output string) []appLine {
	GinkgoHelper()
	var lines []appLine
	for text := range strings.Lines(output) {
		var line appLine
		if !strings.HasPrefix(text, "{") { // "app: ...", what it says at the end of its failure
			continue
		}
		Expect(json.Unmarshal([]byte(text), &line)).To(Succeed(), text)
		lines = append(lines, line)
	}
	return lines
}

// counts is what `app call` has counted when it ended.
func counts(output string) map[string]int {
	GinkgoHelper()
	lines := appLines(output)
	Expect(lines).NotTo(BeEmpty(), output)
	last := lines[len(lines)-1]
	Expect(last.Done).To(BeTrue(), output)
	return last.Counts
}
