// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// chart is drawn as SVG by hand: two kinds of marks on one frame are less than any library's interface, and none of
// them makes what can be read in light and dark, and be read out. Values begin at 0.
type chart struct {
	title, about string // about: what is to be seen, for whoever does not see it
	y, x         string // what the axes show, with the unit
	places       []string
	series       []plot
	lines        bool // or bars
	foot         string
}

// plot is the values of one series, one for each place.
type plot struct {
	name   string
	values []float64
}

// Sizes of a chart, in pixels.
const (
	chartWidth, chartHeight      = 760, 420
	plotLeft, plotRight, plotTop = 80, 740, 76
	plotBottom                   = 330
)

// Both schemes have enough contrast (WCAG 2.2 AA) for text and for marks. Attributes are for whoever reads no style.
const chartStyle = `<style>
text{fill:#1f2328;font:13px system-ui,sans-serif}.title{font-size:16px;font-weight:600}.foot{font-size:11px}
.paper{fill:#ffffff}.grid{stroke:#d1d9e0}.axis{stroke:#59636e}
.f0{fill:#0550ae}.f1{fill:#bc4c00}.s0{stroke:#0550ae}.s1{stroke:#bc4c00}.s0,.s1{fill:none;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.paper{fill:#0d1117}.grid{stroke:#3d444d}.axis{stroke:#9198a1}
.f0{fill:#79c0ff}.f1{fill:#ffa657}.s0{stroke:#79c0ff}.s1{stroke:#ffa657}}
</style>
`

func (c *chart) svg() []byte {
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t d">`+"\n",
		chartWidth, chartHeight)
	fmt.Fprintf(&out, "<title id=\"t\">%s</title>\n<desc id=\"d\">%s</desc>\n%s", html.EscapeString(c.title),
		html.EscapeString(c.about), chartStyle)
	fmt.Fprintf(&out, `<rect class="paper" fill="#ffffff" width="%d" height="%d"/>`+"\n", chartWidth, chartHeight)
	label(&out, plotLeft, 28, "title", "start", c.title)
	c.legend(&out)
	top := c.axes(&out)
	for i, s := range c.series {
		if c.lines {
			c.line(&out, i, s, top)
		} else {
			c.bars(&out, i, s, top)
		}
	}
	label(&out, plotLeft, chartHeight-12, "foot", "start", c.foot)
	out.WriteString("</svg>\n")
	return []byte(out.String())
}

func label(out *strings.Builder, x, y float64, class, anchor, text string) {
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor,
		html.EscapeString(text))
}

func (c *chart) legend(out *strings.Builder) {
	x := float64(plotLeft)
	for i, s := range c.series {
		fmt.Fprintf(out, `<rect class="f%d" x="%.1f" y="42" width="12" height="12"/>`+"\n", i, x)
		label(out, x+18, 53, "", "start", s.name)
		x += 40 + 7.5*float64(len(s.name))
	}
}

// axes draws them, and returns the value at the top.
func (c *chart) axes(out *strings.Builder) float64 {
	highest := 0.0
	for _, s := range c.series {
		highest = max(highest, slices.Max(s.values))
	}
	step := niceStep(highest / 5)
	top := step * math.Ceil(highest/step)
	for value := 0.0; value <= top+step/2; value += step {
		at := height(value, top)
		fmt.Fprintf(out, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#d1d9e0"/>`+"\n",
			plotLeft, plotRight, at, at)
		label(out, plotLeft-8, at+4, "", "end", thousands(int(math.Round(value))))
	}
	fmt.Fprintf(out, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d" stroke="#59636e"/>`+"\n",
		plotLeft, plotRight, plotBottom, plotBottom)
	for i, place := range c.places {
		label(out, c.middle(i), plotBottom+20, "", "middle", place)
	}
	label(out, (plotLeft+plotRight)/2, plotBottom+44, "", "middle", c.x)
	fmt.Fprintf(out, `<text transform="translate(20 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n",
		(plotTop+plotBottom)/2, html.EscapeString(c.y))
	return top
}

// niceStep is the next larger of 1, 2 and 5 times a power of ten, and at least 1.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(max(least, 1))))
	for _, times := range []float64{1, 2, 5} {
		if times*power >= least {
			return times * power
		}
	}
	return 10 * power
}

func height(value, top float64) float64 { return plotBottom - value/top*(plotBottom-plotTop) }

func (c *chart) place() float64 { return float64(plotRight-plotLeft) / float64(len(c.places)) }

func (c *chart) middle(i int) float64 { return plotLeft + (float64(i)+0.5)*c.place() }

func (c *chart) line(out *strings.Builder, which int, s plot, top float64) {
	points := make([]string, len(s.values))
	for i, value := range s.values {
		points[i] = fmt.Sprintf("%.1f,%.1f", c.middle(i), height(value, top))
		fmt.Fprintf(out, `<circle class="f%d" cx="%.1f" cy="%.1f" r="4"/>`+"\n", which, c.middle(i), height(value, top))
	}
	fmt.Fprintf(out, `<polyline class="s%d" points="%s"/>`+"\n", which, strings.Join(points, " "))
}

func (c *chart) bars(out *strings.Builder, which int, s plot, top float64) {
	width := 0.8 * c.place() / float64(len(c.series))
	for i, value := range s.values {
		left := c.middle(i) + (float64(which)-float64(len(c.series))/2)*width
		fmt.Fprintf(out, `<rect class="f%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n",
			which, left, height(value, top), 0.95*width, plotBottom-height(value, top))
	}
}

// charts are those of what was measured, by the names of their files.
func (m *measured) charts() map[string]*chart {
	all := map[string]*chart{}
	if s := m.Series.Checks; len(s) > 0 {
		all["check-cost.svg"] = checkChart(s)
	}
	if s := m.Series.Proxies; len(s) > 0 {
		all["proxies.svg"] = proxyChart(s)
	}
	if s := m.Series.Refused; len(s) > 0 {
		all["refusal.svg"] = refusalChart(s)
	}
	for _, c := range all {
		c.foot = fmt.Sprintf("%s. %s, commit %s", m.Machine, m.Date.Format(time.DateOnly), m.Commit)
	}
	return all
}

func checkChart(costs []checkCost) *chart {
	check, bare := plot{name: "a check: fence, key, scope and rate"}, plot{name: "bare: SHA-256 and a Go map"}
	c := &chart{title: "What a check costs", x: "keys", y: "nanoseconds", lines: true}
	for _, at := range costs {
		c.places = append(c.places, thousands(at.Keys))
		check.values, bare.values = append(check.values, at.Check), append(bare.values, at.Bare)
		c.about += fmt.Sprintf("With %s keys a check takes %.0f ns, and the bare lookup %.0f ns. ",
			thousands(at.Keys), at.Check, at.Bare)
	}
	c.series = []plot{check, bare}
	return c
}

func proxyChart(rates []proxyRates) *chart {
	without, with := plot{name: "asks nobody"}, plot{name: "asks the gate"}
	c := &chart{title: "Requests a second through each proxy", x: "as docs/examples/guard configures it", y: "requests/s"}
	for _, at := range rates {
		c.places = append(c.places, at.Proxy)
		without.values, with.values = append(without.values, at.Without), append(with.values, at.With)
		c.about += fmt.Sprintf("%s: %.0f without, %.0f with the gate. ", at.Proxy, at.Without, at.With)
	}
	c.series = []plot{without, with}
	return c
}

// refusalChart is how many revocations took how long.
func refusalChart(milliseconds []float64) *chart {
	const width, last = 2.0, 50.0 // ms; whatever takes longer is counted in a bar of its own
	bars := int(last/width) + 1
	c := &chart{
		title:  "From DELETE sent to refused at the proxies of all 3 gates",
		x:      fmt.Sprintf("milliseconds, in steps of %.0f; the target is 50 for 99 of 100", width),
		y:      "revocations",
		places: make([]string, bars),
		series: []plot{{name: fmt.Sprintf("%d revocations", len(milliseconds)), values: make([]float64, bars)}},
	}
	for i := range bars {
		if i%5 == 0 {
			c.places[i] = fmt.Sprintf("%.0f", float64(i)*width)
		}
	}
	c.places[bars-1] = "50+"
	sorted := slices.Sorted(slices.Values(milliseconds))
	for _, ms := range sorted {
		c.series[0].values[min(bars-1, int(ms/width))]++
	}
	at := func(p float64) float64 { return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))] }
	c.about = fmt.Sprintf("Half of them took less than %.1f ms, 99 of 100 less than %.1f ms, and the longest %.1f ms.",
		at(0.5), at(0.99), sorted[len(sorted)-1])
	return c
}
