// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"sync/atomic"
	"time"
)

// fenceThirds is the fence's share of a Lease: two thirds. A replica that has not renewed its Lease for so long shuts
// its fence, and accepts nothing until it has registered and listed anew.
//
// The last third is the margin between "this replica accepts nothing" and "nobody waits for it any more". A write that
// has passed its commit point just before the fence shut ends in it (CommitWithin), and the two ends' clocks may run at
// rates that differ by up to a half. A smaller share would leave more room for both, but make the replicas refuse
// everything after a shorter absence of the apiserver. How long that may be is told to people by the API's flag
// --lease-duration, by the chart and in docs/: whoever changes the share changes those.
const fenceThirds = 2

// fenceAfter is F: how long after it sent its last renewal a replica may accept requests, if its Lease lasts for
// leaseDuration.
func fenceAfter(leaseDuration time.Duration) time.Duration { return leaseDuration * fenceThirds / 3 }

// CommitWithin bounds a write that has passed its commit point, in a replica whose Lease lasts for leaseDuration. It is
// three quarters of what lies between the fence and the Lease's expiry, so that the write is over before nobody waits
// for it any more. The last quarter is for clocks that drift.
func CommitWithin(leaseDuration time.Duration) time.Duration {
	return (leaseDuration - fenceAfter(leaseDuration)) * 3 / 4
}

// fence decides by the clock whether this process may accept anything. Once its deadline has been seen to pass it is
// shut, and stays shut until it is started anew: what the controller has decided meanwhile is unknown.
//
// Two clocks tell the time. The monotonic one stands still while a machine is suspended; the wall clock can be set
// back. The deadline has passed when either says so.
//
// It takes no lock, because every request asks it twice: the state is one word, which readers compare before and after
// they look at the deadline.
type fence struct {
	base      time.Time     // with a monotonic reading
	state     atomic.Uint64 // one of the below, and above it how often the fence has been started
	monotonic atomic.Int64  // the deadline, as instant has it
	wall      atomic.Int64
}

// States of a fence. shut leads to started, started to open, and everything back to shut.
const (
	shut uint64 = iota
	started
	open

	stateMask  uint64 = 1<<2 - 1
	generation uint64 = 1 << 2
)

func newFence(now time.Time) *fence { return &fence{base: now} }

// instant is a moment on both clocks.
type instant struct {
	monotonic int64 // nanoseconds since the fence was made
	wall      int64 // Unix nanoseconds
}

func (f *fence) instant(t time.Time) instant {
	return instant{int64(t.Sub(f.base)), t.UnixNano()}
}

// allows is asked for every request, with its own reading of the clocks, so that no pause of this process can come
// between the deadline and its being noticed.
//
// The state is read before the deadline and after it, and must be the very same. Between the two the fence may have
// been shut and started anew: then the deadline that was read is that of a fence which is not open yet. It may even
// have been opened again: that is a new generation, and its deadline was not read.
//
// Model: step Accept.
func (f *fence) allows(now time.Time) bool {
	state := f.state.Load()
	return state&stateMask == open && !f.passed(f.instant(now)) && f.state.Load() == state
}

// passed tells whether the deadline has passed, and shuts the fence if so: once anybody has seen it pass, it must not
// seem open again to somebody whose clock was read earlier.
//
// Model: step Lapse.
func (f *fence) passed(now instant) bool {
	if now.monotonic < f.monotonic.Load() && now.wall < f.wall.Load() {
		return false
	}
	f.shut()
	return true
}

// start sets a deadline, and lets nothing in yet: the replica has registered, and has still to list. It shuts the fence
// first, so that nobody sees the new deadline with the old state.
func (f *fence) start(deadline time.Time) {
	f.shut()
	f.set(f.instant(deadline))
	f.state.Store(f.state.Load()&^stateMask + generation | started)
}

// waits tells whether the fence is started and not open yet.
func (f *fence) waits() bool { return f.state.Load()&stateMask == started }

// open lets requests in until the deadline, if the fence was started and has not been shut since.
//
// Model: step Open.
func (f *fence) open(now time.Time) bool {
	state := f.state.Load()
	if f.passed(f.instant(now)) {
		return false
	}
	if state&stateMask == started { // and no other generation
		f.state.CompareAndSwap(state, state&^stateMask|open)
	}
	return f.state.Load()&stateMask == open
}

// extend puts the deadline off. It returns false if the fence is shut, or the old deadline has passed by now: then the
// new one comes too late.
//
// Model: step Extend.
func (f *fence) extend(deadline, now time.Time) bool {
	if f.passed(f.instant(now)) || f.state.Load()&stateMask == shut {
		return false
	}
	f.set(f.instant(deadline))
	return true
}

func (f *fence) set(deadline instant) {
	f.monotonic.Store(deadline.monotonic)
	f.wall.Store(deadline.wall)
}

func (f *fence) shut() { f.state.And(^stateMask) }

// left is the time until the deadline, by the clock that says less.
func (f *fence) left(now time.Time) time.Duration {
	i := f.instant(now)
	return time.Duration(min(f.monotonic.Load()-i.monotonic, f.wall.Load()-i.wall))
}
