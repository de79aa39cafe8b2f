// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// base is when every fence here was made.
var base = time.Now()

// after is a moment on both clocks, if nothing has happened to them.
func after(d time.Duration) time.Time { return base.Add(d) }

// apart is a moment at which the clocks have run differently far: the monotonic one stands still while a machine is
// suspended, the wall clock is set.
func apart(monotonic, wall time.Duration) instant {
	return instant{int64(monotonic), base.UnixNano() + int64(wall)}
}

// opened is a fence that is open until ten seconds after base.
func opened() *fence {
	f := newFence(base)
	f.start(after(10 * time.Second))
	f.open(after(0))
	return f
}

func TestFenceDeadline(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		reason          string
		monotonic, wall time.Duration
		want            bool
	}{
		{"right after it was opened", 0, 0, true},
		{"an instant before the deadline", 10*s - 1, 10*s - 1, true},
		{"the very instant of the deadline", 10 * s, 10 * s, false},
		{"an instant after the deadline", 10*s + 1, 10*s + 1, false},
		{"the monotonic clock alone has passed it", 10 * s, 3 * s, false},
		{"the wall clock alone has passed it", 3 * s, 10 * s, false},
		{"the machine was suspended for a day", 3 * s, 24 * time.Hour, false},
		{"the wall clock was set back by a day", 3 * s, -24 * time.Hour, true},
		{"set back by a day, but the time is over", 11 * s, -24 * time.Hour, false},
		{"the wall clock was set forward, not past the deadline", 3 * s, 9 * s, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			f := opened()
			if passed := f.passed(apart(tc.monotonic, tc.wall)); passed == tc.want {
				t.Errorf("passed = %t, want %t", passed, !tc.want)
			}
			if got := f.allows(after(0)); got != tc.want {
				t.Errorf("with the clocks set back it allows: %t, want %t", got, tc.want)
			}
		})
	}
}

func TestFenceTakesBothReadingsOfATime(t *testing.T) {
	f := newFence(base)
	if got := f.instant(after(time.Minute)); got != apart(time.Minute, time.Minute) {
		t.Errorf("instant = %+v, want %+v", got, apart(time.Minute, time.Minute))
	}
	// Without a monotonic reading there is only the wall to go by.
	if got := f.instant(after(time.Minute).Round(0)); got != apart(time.Minute, time.Minute) {
		t.Errorf("instant of a wall time = %+v, want %+v", got, apart(time.Minute, time.Minute))
	}
}

// TestFenceTransitions calls whatever can be called, in every order that matters.
func TestFenceTransitions(t *testing.T) {
	type step struct {
		do       string
		at       time.Duration
		deadline time.Duration
		want     bool
	}
	const s = time.Second
	start := func(deadline time.Duration) step { return step{do: "start", deadline: deadline, want: true} }
	shutIt := step{do: "shut", want: true}
	open := func(at time.Duration, want bool) step { return step{do: "open", at: at, want: want} }
	extend := func(at, deadline time.Duration, want bool) step {
		return step{do: "extend", at: at, deadline: deadline, want: want}
	}
	allows := func(at time.Duration, want bool) step { return step{do: "allows", at: at, want: want} }

	for _, tc := range []struct {
		reason string
		steps  []step
	}{
		{"a new one is shut", []step{allows(0, false)}},
		{"a new one can't be opened", []step{open(0, false), allows(0, false)}},
		{"a new one can't be extended", []step{extend(0, 10*s, false), open(0, false), allows(0, false)}},
		{"started, it is not open", []step{start(10 * s), allows(0, false)}},
		{"started and asked, it can still be opened", []step{start(10 * s), allows(s, false), open(s, true), allows(s, true)}},
		{"opened too late", []step{start(10 * s), open(10*s, false), allows(0, false), open(0, false)}},
		{"opened twice", []step{start(10 * s), open(s, true), open(2*s, true), allows(2*s, true)}},
		{"opened a second time, too late", []step{start(10 * s), open(s, true), open(10*s, false), allows(s, false)}},
		{"extended before it is open, it is not open", []step{start(10 * s), extend(s, 20*s, true), allows(s, false)}},
		{"extended before it is open, it can be opened later", []step{start(10 * s), extend(s, 20*s, true), open(15*s, true), allows(15*s, true)}},
		{"extended in time", []step{start(10 * s), open(0, true), extend(10*s-1, 20*s, true), allows(20*s-1, true), allows(20*s, false)}},
		{"extended too late", []step{start(10 * s), open(0, true), extend(10*s, 20*s, false), allows(10*s, false), allows(0, false)}},
		{"extended too late, which nobody noticed until then", []step{start(10 * s), open(0, true), extend(15*s, 25*s, false), allows(15*s, false)}},
		{"extended too late before it was open", []step{start(10 * s), extend(10*s, 20*s, false), open(0, false), allows(0, false)}},
		{"once passed, an earlier time does not help", []step{start(10 * s), open(0, true), allows(10*s, false), allows(0, false)}},
		{"once passed, it can't be extended", []step{start(10 * s), open(0, true), allows(10*s, false), extend(0, 20*s, false), allows(0, false)}},
		{"once passed, it can't be opened", []step{start(10 * s), open(0, true), allows(10*s, false), open(0, false), allows(0, false)}},
		{"shut, it can't be extended", []step{start(10 * s), open(0, true), shutIt, extend(0, 20*s, false), allows(0, false)}},
		{"shut, it can't be opened", []step{start(10 * s), open(0, true), shutIt, open(0, false), allows(0, false)}},
		{"started anew, it is not open yet", []step{start(10 * s), open(0, true), start(20 * s), allows(0, false)}},
		{"started and opened anew", []step{start(10 * s), open(0, true), allows(10*s, false), start(25 * s), allows(15*s, false), open(15*s, true), allows(25*s-1, true), allows(25*s, false)}},
		{"extended to where it stands already", []step{start(10 * s), open(0, true), extend(s, 10*s, true), allows(10*s-1, true), allows(10*s, false)}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			f := newFence(base)
			for i, step := range tc.steps {
				got := true
				switch step.do {
				case "start":
					f.start(after(step.deadline))
				case "shut":
					f.shut()
				case "open":
					got = f.open(after(step.at))
				case "extend":
					got = f.extend(after(step.deadline), after(step.at))
				case "allows":
					got = f.allows(after(step.at))
				}
				if got != step.want {
					t.Fatalf("step %d: %s at %s is %t, want %t", i, step.do, step.at, got, step.want)
				}
			}
		})
	}
}

func TestFenceLeft(t *testing.T) {
	f := opened()
	for _, at := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute} {
		if got, want := f.left(after(at)), 10*time.Second-at; got != want {
			t.Errorf("left at %s is %s, want %s", at, got, want)
		}
	}
	// What the nearer of the two clocks says. The base is moved to set the monotonic clock alone.
	f.monotonic.Store(int64(4 * time.Second))
	if got := f.left(after(time.Second)); got != 3*time.Second {
		t.Errorf("left is %s by the monotonic clock, want 3s", got)
	}
	f = opened()
	f.wall.Store(base.Add(2 * time.Second).UnixNano())
	if got := f.left(after(time.Second)); got != time.Second {
		t.Errorf("left is %s by the wall clock, want 1s", got)
	}
}

// TestFenceIsExtendedOrPassedNotBoth lets a request notice the deadline while a renewal puts it off. Either may win.
// But when the request was turned away, so are all that follow.
func TestFenceIsExtendedOrPassedNotBoth(t *testing.T) {
	for range 2000 {
		f := opened()
		var allowed, extended bool
		var both sync.WaitGroup
		both.Go(func() { allowed = f.allows(after(10 * time.Second)) })
		both.Go(func() { extended = f.extend(after(20*time.Second), after(10*time.Second-1)) })
		both.Wait()
		if allowed && !extended {
			t.Fatal("a request was let in past the deadline, which nobody had put off")
		}
		if f.allows(after(5*time.Second)) != allowed {
			t.Fatalf("a request at the deadline was let in: %t, one after it: %t", allowed, !allowed)
		}
	}
}

// TestFenceStartedAnewLetsNobodyIn lets requests ask while the fence is shut and started anew, over and over, and never
// opened. Their time is past the first deadline and before the second: none may see the one state and the other
// deadline. (Ten million rounds find a look at the state before the one at the deadline, and none after it.)
func TestFenceStartedAnewLetsNobodyIn(t *testing.T) {
	f := newFence(base)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if f.allows(after(15 * time.Second)) {
					t.Error(fmt.Sprint("reader ", i, ": let in by a fence that has not been opened since its deadline"))
					return
				}
			}
		})
	}
	for range 50_000 {
		f.start(after(10 * time.Second))
		f.open(after(0))
		f.start(after(20 * time.Second))
	}
	close(stop)
	readers.Wait()
}
