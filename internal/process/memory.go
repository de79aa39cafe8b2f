// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// By how much the heap may grow over what is in use before it is collected: by allowance, which for a small heap is as
// much again (Go's default), and for a large one no less than minPercent of it. Most of a large heap is what the
// process knows of ApiKeys, which stays: with Go's default, twice as much memory would be taken as is needed. A small
// heap that is collected as often would cost more processor time than it saves memory.
const (
	allowance  = 10 << 20 // bytes
	minPercent = 30       // what GOGC means by 30
	maxPercent = 100      // Go's default
)

// idleAfter is how many seconds without a collection make the process idle. What a burst has left, such as the first
// list of all keys, is then given back to the machine. Otherwise it would stay for as long as nothing else is
// allocated.
const idleAfter = 5

// TuneCollector keeps the growth of the heap to that until ctx ends, and gives memory back when the process becomes
// idle. What GOGC is set to by whoever runs the process counts instead.
//
// GOGC and GOMEMLIMIT can't take its place. Measured with an index of keys that came as pages of JSON, then 10 seconds
// of 40 MB/s of garbage, as of requests, then 30 seconds of rest; Go 1.26, two cores. MB are the process's own at rest,
// without the program's file; the share is what collecting took of one core while the garbage came:
//
//	                  no keys          100,000 keys      300,000 keys
//	TuneCollector     4 MB    0.6 %    44 MB   1.8 %     115 MB    5 %
//	GOGC=100          6 MB    0.8 %    76 MB   0.5 %     210 MB    4 %
//	GOGC=30           5 MB    1.7 %    52 MB   2.4 %     153 MB   10 %
//	GOMEMLIMIT=60MiB  7 MB    0.6 %    57 MB   1.1 %     126 MB   72 %
//
// The controller takes 217 MB at 100,000 keys, of the 250 that it may (test/bench): it has no room for what
// GOGC leaves behind a burst. A limit, on the other hand, is right for one number of keys: with more, the process does
// little but collect, and with GOGC=off it fills the limit with whatever few keys there are (56 MB without any).
func TuneCollector(ctx context.Context, getenv func(string) string) {
	if getenv("GOGC") != "" {
		return
	}
	c := collector{percent: maxPercent}
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		metrics.Read(heap)
		percent, free := c.next(heap[0].Value.Uint64(), heap[1].Value.Uint64())
		if percent != c.percent {
			c.percent = percent
			debug.SetGCPercent(percent) // which stops the process for some microseconds
		}
		if free {
			debug.FreeOSMemory()
			metrics.Read(heap)
			c.cycles = heap[1].Value.Uint64() // FreeOSMemory collects: that is no sign of work
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// collector is what TuneCollector remembers from one second to the next. It decides without a clock and without the
// runtime, so that it can be tested.
type collector struct {
	percent int    // that is set
	cycles  uint64 // collections until the last look, or until memory was given back
	busy    bool   // there were collections since memory was given back
	quiet   int    // looks since the last collection
}

// next returns by how many percent the heap may grow, and whether it is time to give memory back. It gives back once
// after each burst: doing so is a collection of its own, and pages that come back later cost a fault each.
func (c *collector) next(inUse, cycles uint64) (percent int, free bool) {
	percent = growthOf(inUse)
	switch {
	case cycles != c.cycles:
		c.cycles, c.busy, c.quiet = cycles, true, 0
	case c.busy:
		if c.quiet++; c.quiet >= idleAfter {
			c.busy, free = false, true
		}
	}
	return percent, free
}

// growthOf returns by how many percent a heap with so many bytes in use may grow. It goes in steps of ten, so that
// SetGCPercent, which stops the process, is not called for every byte.
func growthOf(inUse uint64) int {
	percent := int(100 * allowance / max(inUse, 1))
	return min(max(percent/10*10, minPercent), maxPercent)
}
