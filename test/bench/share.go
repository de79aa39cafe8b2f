// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// ourCode is what a figure calls ours. The bench itself is not: its stage serves, but adds nothing to a request.
var ourCode = []string{
	"github.com/letmepost/letmepost-operator/internal/",
	"github.com/letmepost/letmepost-operator/cmd/",
}

// serversCode is what serves a request whatever its handler does.
var serversCode = []string{"net/http.", "internal/poll.", "syscall."}

// shareRound is long enough, times rounds, for some thousand samples: a profile takes 100 a second of processor time.
const shareRound = 4 * time.Second

// benchShare measures what part of the processor time of GET /v1/whoami is spent by this project's code, in what it
// calls included, rather than by net/http and the kernel. A ratio of requests a second shows a tenth of a microsecond
// only after minutes on a quiet machine; a profile shows where it went.
func benchShare(ctx context.Context, r *report) error {
	stage, err := newStage(ctx, 1000)
	if err != nil {
		return err
	}
	defer stage.close()
	api, err := serveOn(ctx, stage.api)
	if err != nil {
		return err
	}
	defer api.stop()
	if _, err := api.ask(ctx, []string{whoamiPath}, stage.plaintext, time.Second); err != nil { // to warm up
		return err
	}
	all, rates := &cost{cumulative: map[string]int64{}}, []float64(nil)
	for range rounds {
		p, rate, err := profiled(func() (float64, error) {
			return api.ask(ctx, []string{whoamiPath}, stage.plaintext, shareRound)
		})
		if err != nil {
			return err
		}
		all.add(p)
		rates = append(rates, rate)
	}
	// All samples together, and not the median of the rounds: a round has a few hundred, a tenth of them ours.
	r.atMost("whoami: our share of the server's processor time", all.share(), 10, "%",
		fmt.Sprintf("+-%.1f by %d samples, %.0f requests/s: %s", all.deviation(), all.total, median(rates), all.top(8)))
	return nil
}

// profiled returns the profile of this process while do runs, with what do returns. The client of do must be another
// process: whatever this one does counts as the server's.
func profiled(do func() (float64, error)) (*profile.Profile, float64, error) {
	var written bytes.Buffer
	if err := pprof.StartCPUProfile(&written); err != nil {
		return nil, 0, err
	}
	value, err := do()
	pprof.StopCPUProfile()
	if err != nil {
		return nil, 0, err
	}
	p, err := profile.ParseData(written.Bytes())
	return p, value, err
}

// cost is what samples of a profile were spent on.
type cost struct {
	total, ours int64
	// cumulative counts, of ours, the samples that a function of ours was on the stack of. They add up to more than
	// ours, because functions call each other.
	cumulative map[string]int64
}

func (c *cost) share() float64 { return 100 * float64(c.ours) / float64(max(c.total, 1)) }

// deviation is the standard deviation of share that comes of the number of samples alone.
func (c *cost) deviation() float64 {
	share := c.share() / 100
	return 100 * math.Sqrt(share*(1-share)/float64(max(c.total, 1)))
}

// add looks at each sample from its innermost frame outwards, for the first that is ours or the server's: who calls the
// runtime, or a library, pays for it. What has no such frame, as the garbage collector's own goroutines, is nobody's.
func (c *cost) add(p *profile.Profile) {
	for _, sample := range p.Sample {
		n := sample.Value[0]
		c.total += n
		stack := functions(sample)
		first := slices.IndexFunc(stack, func(f string) bool { return hasPrefix(f, ourCode) || hasPrefix(f, serversCode) })
		if first < 0 || !hasPrefix(stack[first], ourCode) {
			continue
		}
		c.ours += n
		seen := map[string]bool{}
		for _, f := range stack[first:] {
			if hasPrefix(f, ourCode) && !seen[f] {
				seen[f] = true
				c.cumulative[f] += n
			}
		}
	}
}

// functions are the functions on a sample's stack, inlined ones included, the innermost first.
func functions(s *profile.Sample) []string {
	var stack []string
	for _, location := range s.Location {
		for _, line := range location.Line {
			if line.Function != nil {
				stack = append(stack, line.Function.Name)
			}
		}
	}
	return stack
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// top names the functions of ours that took the most, with what they called, in percent of all.
func (c *cost) top(n int) string {
	byCost := slices.SortedFunc(maps.Keys(c.cumulative), func(f, g string) int {
		return cmp.Or(cmp.Compare(c.cumulative[g], c.cumulative[f]), strings.Compare(f, g))
	})
	var text []string
	for _, f := range byCost[:min(n, len(byCost))] {
		name, share := f[strings.LastIndexByte(f, '/')+1:], 100*float64(c.cumulative[f])/float64(c.total)
		text = append(text, fmt.Sprintf("%s %.1f", name, share))
	}
	return strings.Join(text, ", ")
}
