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
// default, and a large one by no more than smallGrowth percent. Most of a large heap is what the process knows of ApiKeys, which
// stays; with the default, it would be twice as large as that. Collecting a small heap as often would cost more
// than it saves.
const (
	growth      = 10 << 20 // bytes
	smallGrowth = 30       // percent
	fullGrowth  = 100
)

// PaceCollector keeps the growth of the heap to that until ctx ends, unless whoever runs the process has set GOGC.
func PaceCollector(ctx context.Context, getenv func(string) string) {
	if getenv("GOGC") != "" {
		return
	}
	percent, inUse := fullGrowth, []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		metrics.Read(inUse)
		if p := growthOf(inUse[0].Value.Uint64()); p != percent {
			percent = p
			debug.SetGCPercent(percent) // stops the process for some microseconds
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// growthOf is by how many percent a heap with so many bytes in use may grow, in steps of ten.
func growthOf(inUse uint64) int {
	percent := int(100 * growth / max(inUse, 1))
	return min(max(percent/10*10, smallGrowth), fullGrowth)
}
