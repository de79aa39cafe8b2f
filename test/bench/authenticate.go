// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// rounds is how often each side of a ratio is measured; the best of each counts, because noise only ever adds.
const rounds = 5

// benchAuthenticate runs BenchmarkAuthenticate of internal/authn, which says what is measured, and makes ratios of it.
// It can't be here: only tests of that room can recognise a key without passing the fence.
func benchAuthenticate(ctx context.Context, r *report) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "NONE", "-bench", "^BenchmarkAuthenticate$", "-benchtime", "1x",
		"-timeout", "10m", "./internal/authn")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run the benchmark of internal/authn: %w\n%s%s", err, out, &stderr)
	}
	at, err := metricsOf(string(out), "BenchmarkAuthenticate")
	if err != nil {
		return err
	}
	ratio := func(what string, a, b, most float64) {
		r.atMost(what, a/b, most, "x", fmt.Sprintf("%.0f ns / %.0f ns", a, b))
	}
	hit, bare := at["hit-ns/100000"], at["bare-ns/100000"]
	ratio("authenticate: hit / bare SHA-256 + map, 100,000 keys", hit, bare, 2)
	r.atMost("authenticate: allocations of a hit", at["hit-allocs/100000"], 0, "", "")
	ratio("authenticate: miss / hit, 100,000 keys", at["miss-ns/100000"], hit, 1)
	ratio("authenticate: wrong checksum / hit, 100,000 keys", at["checksum-ns/100000"], hit, 0.5)
	ratio("authenticate: malformed / hit, 100,000 keys", at["malformed-ns/100000"], hit, 0.5)
	r.atMost("index: heap per key, 100,000 keys", at["heap-B/100000"], 400, " B", "")
	small, large := at["hit-ns/1000"], at["hit-ns/1000000"]
	r.atMost("authenticate: hit at 1,000,000 keys / at 1,000 keys", large/small, 2, "x", fmt.Sprintf(
		"%.0f ns / %.0f ns; bare SHA-256 + map: %.2fx", large, small, at["bare-ns/1000000"]/at["bare-ns/1000"]))
	ratio("admission / the same steps one by one, 100,000 keys", at["admitted-ns/100000"], at["steps-ns/100000"], 1.1)
	r.plain("admission, with fence, flight, scope and rate / hit", at["admitted-ns/100000"]/hit, "x",
		fmt.Sprintf("%.0f ns / %.0f ns", at["admitted-ns/100000"], hit))
	r.atMost("admission: allocations", at["admitted-allocs/100000"], 0, "", "")
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		r.series.Checks = append(r.series.Checks,
			checkCost{n, at[fmt.Sprintf("admitted-ns/%d", n)], at[fmt.Sprintf("bare-ns/%d", n)]})
	}
	return nil
}

// metricsOf reads the line of a benchmark in the output of go test: pairs of a value and what it is.
func metricsOf(output, benchmark string) (map[string]float64, error) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], benchmark) {
			continue
		}
		metrics := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read %q of %s: %w", fields[i], benchmark, err)
			}
			metrics[fields[i+1]] = value
		}
		return metrics, nil
	}
	return nil, fmt.Errorf("%s has reported nothing:\n%s", benchmark, output)
}
