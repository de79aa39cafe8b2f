// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"runtime/debug"
	"slices"
	"testing"
)

func TestGrowth(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		reason string
		inUse  uint64
		want   int
	}{
		{"nothing is in use", 0, 100},
		{"a small heap may double", 10 * mib, 100},
		{"from there on it grows by so much", 20 * mib, 50},
		{"in steps of ten", 22 * mib, 40},
		{"a large one by no less than this", 1000 * mib, 30},
	} {
		if got := growthOf(tc.inUse); got != tc.want {
			t.Errorf("%s: %d percent, want %d", tc.reason, got, tc.want)
		}
	}
}

// Memory is given back once, when a burst of collections is over.
func TestMemoryIsGivenBack(t *testing.T) {
	c := collector{percent: maxPercent}
	var at []int
	for second, cycles := range []uint64{1, 2, 9, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11} {
		if _, free := c.next(50<<20, cycles); free {
			at = append(at, second)
		}
	}
	if want := []int{7, 19}; !slices.Equal(at, want) {
		t.Errorf("at the seconds %v, want %v", at, want)
	}
}

// Who runs the process knows better.
func TestGOGCDecides(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	TuneCollector(t.Context(), func(string) string { return "77" }) // it returns at once
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("it was set to %d", got)
	}
}
