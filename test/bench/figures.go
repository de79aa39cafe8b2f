// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// figure is one that was measured, as -json writes it.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target,omitempty"`
	Met    bool    `json:"met"` // also of one without a target
	Basis  string  `json:"basis,omitempty"`
}

// series are what charts are drawn of; those that a run has not measured are empty.
type series struct {
	Checks  []checkCost  `json:"checks,omitempty"`
	Proxies []proxyRates `json:"proxies,omitempty"`
	Refused []float64    `json:"refusedMilliseconds,omitempty"`
}

// checkCost is what a check costs with so many keys, beside what it can't do without. In nanoseconds.
type checkCost struct {
	Keys  int     `json:"keys"`
	Check float64 `json:"check"`
	Bare  float64 `json:"bare"`
}

// proxyRates are requests a second through a proxy that asks nobody, and through the same one that asks the gate.
type proxyRates struct {
	Proxy   string  `json:"proxy"`
	Without float64 `json:"without"`
	With    float64 `json:"with"`
}

// run of this program, as -json writes it.
type measured struct {
	Machine string    `json:"machine"`
	Date    time.Time `json:"date"`
	Commit  string    `json:"commit"`
	Figures []figure  `json:"figures"`
	Series  series    `json:"series"`
}

func (r *report) measured(ctx context.Context) *measured {
	commit := "unknown" // as of an archive of the source
	if out, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=10", "HEAD").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return &measured{machine(), time.Now().UTC().Truncate(time.Second), commit, r.figures, r.series}
}

// machine says what this was measured on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores, %s, %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}

// write writes all of it as JSON.
func (m *measured) write(file string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// Where the page of benchmarks has what was measured.
const (
	measuredBegins = "<!-- begin of what make bench-figures writes -->"
	measuredEnds   = "<!-- end of what make bench-figures writes -->"
)

// publish draws the charts into folder, and writes the figures into the page of benchmarks beside it.
func (m *measured) publish(folder string) error {
	for name, c := range m.charts() {
		if err := os.WriteFile(filepath.Join(folder, name), c.svg(), 0o644); err != nil {
			return err
		}
	}
	page := filepath.Join(filepath.Dir(folder), "benchmarks.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), measuredBegins)
	_, after, ends := strings.Cut(rest, measuredEnds)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for figures: it must have the lines %q and %q", page, measuredBegins, measuredEnds)
	}
	return os.WriteFile(page, []byte(before+measuredBegins+"\n\n"+m.table()+"\n"+measuredEnds+after), 0o644)
}

// table is the figures as Markdown.
func (m *measured) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Measured on %s, at commit `%s`, by `make bench-figures`, on: %s.\n\n",
		m.Date.Format(time.DateOnly), m.Commit, m.Machine)
	text.WriteString("| figure | value | target | |\n| --- | --- | --- | --- |\n")
	for _, f := range m.Figures {
		target := strings.NewReplacer("<=", "≤", ">=", "≥").Replace(f.Target)
		if !f.Met {
			target += ", **missed**"
		}
		fmt.Fprintf(&text, "| %s | %.2f%s | %s | %s |\n", cell(f.Name), f.Value, f.Unit, target, cell(f.Basis))
	}
	return text.String()
}

// cell is text in a table of Markdown.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "_", "\\_").Replace(text)
}
