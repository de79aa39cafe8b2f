// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var sample = &measured{
	Machine: "2 cores, <some>", Date: time.Unix(1_800_000_000, 0).UTC(), Commit: "abc",
	Figures: []figure{{Name: "gate: a|b -> c_d", Value: 2, Unit: "x", Target: "<= 1x"}},
	Series: series{
		Checks:  []checkCost{{1000, 400, 200}, {1_000_000, 600, 900}},
		Proxies: []proxyRates{{"nginx", 10_000, 5000}, {"HAProxy", 9000, 4000}},
		Refused: []float64{0.5, 3, 12, 49.9, 50, 1000},
	},
}

// TestCharts: each is XML, has a title and a description for who does not see it, colours for light and dark, and
// nothing outside of its frame or without a number.
func TestCharts(t *testing.T) {
	charts := sample.charts()
	if len(charts) != 3 {
		t.Fatalf("%d charts, want 3", len(charts))
	}
	for name, c := range charts {
		text := string(c.svg())
		for _, want := range []string{
			"<title id=\"t\">" + c.title, "<desc id=\"d\">", "prefers-color-scheme:dark", "2 cores, &lt;some&gt;", c.x, c.y,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") || strings.Contains(text, `="-`) {
			t.Errorf("%s has places that are none:\n%s", name, text)
		}
		elements := map[string]int{}
		for d := xml.NewDecoder(strings.NewReader(text)); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				elements[e.Name.Local]++
			}
		}
		marks := 0
		for _, s := range c.series {
			marks += len(s.values)
		}
		if c.lines && (elements["circle"] != marks || elements["polyline"] != len(c.series)) {
			t.Errorf("%s: %v for %d marks", name, elements, marks)
		}
		if !c.lines && elements["rect"] != marks+len(c.series)+1 { // with the legend and the paper
			t.Errorf("%s: %v for %d marks", name, elements, marks)
		}
	}
}

// TestRefusalChart: every revocation is in one bar, the slow ones in the last.
func TestRefusalChart(t *testing.T) {
	values := refusalChart(sample.Series.Refused).series[0].values
	for bar, want := range map[int]float64{0: 1, 1: 1, 6: 1, 24: 1, 25: 2} {
		if values[bar] != want {
			t.Errorf("bar %d has %v, want %v", bar, values[bar], want)
		}
	}
}

// TestPublish: what was measured replaces what was measured before, and nothing else.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	page, figures := filepath.Join(dir, "benchmarks.md"), filepath.Join(dir, "figures")
	if err := errors.Join(os.Mkdir(figures, 0o755),
		os.WriteFile(page, []byte("before\n"+measuredBegins+"\nold\n"+measuredEnds+"\nafter\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := sample.publish(figures); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		row := `| gate: a\|b -&gt; c\_d | 2.00x | ≤ 1x, **missed** |  |`
		if got := string(text); !strings.HasPrefix(got, "before\n"+measuredBegins) || strings.Contains(got, "old") ||
			!strings.HasSuffix(got, measuredEnds+"\nafter\n") || strings.Count(got, row) != 1 {
			t.Errorf("the page is\n%s", got)
		}
	}
	files, err := filepath.Glob(filepath.Join(figures, "*.svg"))
	if err != nil || len(files) != 3 {
		t.Errorf("%v, %v", files, err)
	}
}
