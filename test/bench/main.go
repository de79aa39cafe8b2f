// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the project's figures, one line each:
//
//	figure                                             value  target
//
// A figure is a ratio of two things measured in turns within one run, wherever it can be: machines are noisy, and the
// noise falls on both. A missed target is marked; it fails nothing, because a figure is no test.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// section is a group of figures that share their preparation.
type section struct {
	name string
	run  func(ctx context.Context, r *report) error
}

var sections = []section{
	{"authenticate", benchAuthenticate},
	{"whoami", benchWhoami},
	{"gate", benchGate},
	{"proxies", benchProxies},
	{"refusal", onBed(benchGateRefusal)},
	{"gatememory", benchGateMemory},
	{"attacks", benchAttacks},
	{"share", benchShare},
	{"use", benchUse},
	{"posts", benchPosts},
	{"upload", benchUpload},
	{"vault", benchVault},
	{"bluesky", benchBluesky},
	{"apply", onBed(benchApply)},
	{"revoke", onBed(benchRevoke)},
	{"list", onBed(benchList)},
	{"dashboard", onBed(benchDashboard)},
	{"coldstart", onBed(benchColdStart)},
	{"memory", onBed(benchMemory)},
}

func main() {
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	work := func() error { return run(ctx, os.Args[1:], os.Stdout) }
	if order := os.Getenv(clientVariable); order != "" {
		work = func() error { return beClient(ctx, order, os.Stdout) }
	}
	if order := os.Getenv(attackVariable); order != "" {
		work = func() error { return beAttacker(ctx, order, os.Stdin, os.Stdout) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	file := fs.String("json", "bin/bench.json", "write the figures to this `file`, too")
	figures := fs.String("figures", "",
		"draw charts into this `folder`, and write the figures into benchmarks.md beside it")
	only := fs.String("run", "", "run only the sections whose name matches this `regexp`: "+
		"authenticate, whoami, gate, proxies, refusal, gatememory, attacks, share, use, posts, upload, vault, bluesky, "+
		"apply, revoke, list, dashboard, coldstart, memory")
	if err := fs.Parse(args); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	r := &report{out: stdout}
	for _, s := range sections {
		if !match.MatchString(s.name) {
			continue
		}
		began := time.Now()
		if err := s.run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", s.name, time.Since(began).Round(time.Second))
	}
	m := r.measured(ctx)
	if *figures != "" {
		if err := m.publish(*figures); err != nil {
			return err
		}
	}
	return m.write(*file)
}

// report prints figures, and keeps them.
type report struct {
	out     io.Writer
	figures []figure
	series  series
}

// atMost prints a figure that is to be no more than target, and atLeast one that is to be no less.
func (r *report) atMost(name string, value, target float64, unit, basis string) {
	r.line(name, value, unit, fmt.Sprintf("<= %g%s", target, unit), value <= target, basis)
}

func (r *report) atLeast(name string, value, target float64, unit, basis string) {
	r.line(name, value, unit, fmt.Sprintf(">= %g%s", target, unit), value >= target, basis)
}

// plain prints a figure without a target.
func (r *report) plain(name string, value float64, unit, basis string) {
	r.line(name, value, unit, "", true, basis)
}

func (r *report) line(name string, value float64, unit, target string, met bool, basis string) {
	mark := ""
	if !met {
		mark = "MISSED "
	}
	r.figures = append(r.figures, figure{name, value, unit, target, met, basis})
	fmt.Fprintf(r.out, "%-58s %10.2f%-3s %-9s %s%s\n", name, value, unit, target, mark, basis)
}

// progress tells on standard error what takes its time.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// percentile returns the p-th percentile (0 to 100) of samples.
func percentile(samples []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
