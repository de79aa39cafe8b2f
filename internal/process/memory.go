// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The heap may grow by so much over what is in use before it is collected: a small heap by as much again, which is Go's
// default, and a large one by no more than smallGrowth percent. Most of a large heap is what the process knows of
// ApiKeys, which stays; with the default, it would be twice as large as that. Collecting a small heap as often would
// cost more than it saves.
const (
	growth      = 10 << 20 // bytes
	smallGrowth = 30       // percent
	fullGrowth  = 100
)

// idleAfter is how many seconds without a collection make the process idle: what a burst has left, such as a first list
// of all keys, is given back to the machine then. Otherwise it would stay for as long as nothing else is allocated.
const idleAfter = 5

// PaceCollector keeps the growth of the heap to that until ctx ends, and gives memory back when the process becomes
// idle. What GOGC is set to by whoever runs the process counts instead.
func PaceCollector(ctx context.Context, getenv func(string) string) {
	if getenv("GOGC") != "" {
		return
	}
	c := collector{percent: fullGrowth}
	heap := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		metrics.Read(heap)
		percent, release := c.next(heap[0].Value.Uint64(), heap[1].Value.Uint64())
		if percent != c.percent {
			c.percent = percent
			debug.SetGCPercent(percent) // stops the process for some microseconds
		}
		if release {
			debug.FreeOSMemory()
			metrics.Read(heap)
			c.cycles = heap[1].Value.Uint64() // this one was ours
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// collector is what PaceCollector remembers from one second to the next.
type collector struct {
	percent int    // that is set
	cycles  uint64 // collections until the last look, or until memory was given back
	busy    bool   // there were collections since memory was given back
	quiet   int    // looks since the last collection
}

// next is by how many percent the heap may grow, and whether it is time to give memory back.
func (c *collector) next(inUse, cycles uint64) (percent int, release bool) {
	percent = growthOf(inUse)
	switch {
	case cycles != c.cycles:
		c.cycles, c.busy, c.quiet = cycles, true, 0
	case c.busy:
		if c.quiet++; c.quiet >= idleAfter {
			c.busy, release = false, true
		}
	}
	return percent, release
}

// growthOf is by how many percent a heap with so many bytes in use may grow, in steps of ten.
func growthOf(inUse uint64) int {
	percent := int(100 * growth / max(inUse, 1))
	return min(max(percent/10*10, smallGrowth), fullGrowth)
}
