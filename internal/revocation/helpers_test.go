// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"
)

// Moments that a scene's journal tells apart. A write to the Lease is sent, and, if all is well, answered.
const (
	patch, patched     = "patch", "patched"
	create, created    = "create", "created"
	leave              = "delete"
	relist, relisted   = "relist", "relisted"
	up, down           = "up", "down" // what a request every 50 ms finds
	cut, reconnect     = "cut", "reconnect"
	leaseName          = "letmepost-api-0"
	sampleEvery        = 50 * time.Millisecond
	ms, s              = time.Millisecond, time.Second
	fence15, renewal15 = 10 * s, 2 * s // of a Lease that lasts for 15 s
)

// moment is something that has happened.
type moment struct {
	at   time.Duration // since the scene began
	what string
}

// scene is a Replica, in fake time, among Leases and a store that do as they are told.
type scene struct {
	*Replica
	*leases
	*store
	t     *testing.T
	began time.Time
	end   context.CancelFunc // of Run
	ended chan struct{}

	mu      sync.Mutex
	journal []moment
	said    []moment // what was logged
}

// play plays a scene of a Replica whose Lease lasts for 15 s, and then looks whether it has kept the order of things.
func play(t *testing.T, act func(*testing.T, *scene)) {
	t.Helper()
	playFor(t, 15*s, act)
}

func playFor(t *testing.T, duration time.Duration, act func(*testing.T, *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t, duration)
		defer func() {
			x.end()
			<-x.ended
			x.lawful()
		}()
		act(t, x)
	})
}

func newScene(t *testing.T, duration time.Duration) *scene {
	x := &scene{t: t, began: time.Now(), end: func() {}, ended: make(chan struct{})}
	close(x.ended)
	x.leases = &leases{scene: x, version: 100}
	x.store = &store{scene: x, version: "1000", changed: make(chan struct{}, 1)}
	x.Replica = NewReplica(ReplicaOptions{
		Leases: x.leases, Store: x.store,
		Name: leaseName, Holder: "pod-0", Environment: "live",
		Duration:  duration,
		Cut:       func() { x.note(cut) },
		Reconnect: func() { x.note(reconnect) },
		Clock:     clock.RealClock{}, // which is fake in here
		Logger:    slog.New(slog.NewTextHandler(saying{x}, nil)),
	})
	return x
}

// run lets the replica run, and requests come in.
func (x *scene) run() {
	x.runUnasked()
	go func() {
		was := false
		for {
			if is := x.Serving(time.Now()); is != was {
				was = is
				x.note(map[bool]string{true: up, false: down}[is])
			}
			select {
			case <-x.ended:
				return
			case <-time.After(sampleEvery):
			}
		}
	}()
}

// runUnasked lets the replica run, and no request come in.
func (x *scene) runUnasked() {
	ctx, end := context.WithCancel(x.t.Context())
	x.end, x.ended = end, make(chan struct{})
	go func() {
		defer close(x.ended)
		x.Run(ctx)
	}()
	synctest.Wait()
}

// until lets time pass, and everybody do what they have to at that time.
func (x *scene) until(at time.Duration) {
	time.Sleep(time.Until(x.began.Add(at)))
	synctest.Wait()
}

func (x *scene) now() time.Duration { return time.Since(x.began) }

func (x *scene) serving() bool { return x.Serving(time.Now()) }

func (x *scene) note(what string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.journal = append(x.journal, moment{x.now(), what})
}

// moments returns the moments of those kinds from a time on, in order.
func (x *scene) moments(from time.Duration, what ...string) (found []moment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.journal {
		if m.at >= from && slices.Contains(what, m.what) {
			found = append(found, m)
		}
	}
	return found
}

// order is what of those kinds has happened from a time on, in one line.
func (x *scene) order(from time.Duration, what ...string) string {
	var names []string
	for _, m := range x.moments(from, what...) {
		names = append(names, m.what)
	}
	return strings.Join(names, " ")
}

// last returns when something happened for the last time.
func (x *scene) last(what ...string) time.Duration {
	x.t.Helper()
	found := x.moments(0, what...)
	if len(found) == 0 {
		x.t.Fatalf("there was no %v", what)
	}
	return found[len(found)-1].at
}

// renewed returns when the last renewal that has been answered was sent.
func (x *scene) renewed() (sent time.Duration) {
	x.t.Helper()
	x.last(patched, created)
	var pending time.Duration
	for _, m := range x.moments(0, patch, create, patched, created) {
		switch m.what {
		case patch, create:
			pending = m.at
		default:
			sent = pending
		}
	}
	return sent
}

// lawful goes through what has happened. From the beginning, and from when it stopped serving, a replica registers,
// then lists, then serves.
func (x *scene) lawful() {
	x.t.Helper()
	registered, listing, listed := false, false, false
	for _, m := range x.moments(0, patched, created, relist, relisted, up, down, cut, leave) {
		switch m.what {
		case down, cut, leave:
			registered, listing, listed = false, false, false
		case patched, created:
			registered = true
		case relist:
			listing = registered
		case relisted:
			listed = listing
		case up:
			if !listed {
				x.t.Errorf("at %s it serves without having registered and then listed: %v", m.at, x.moments(0, patched, created, relist, relisted, up, down, cut))
			}
		}
	}
}

// logged returns when something was logged that contains the text, from a time on.
func (x *scene) logged(from time.Duration, text string) (at []time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.said {
		if m.at >= from && strings.Contains(m.what, text) {
			at = append(at, m.at)
		}
	}
	return at
}

// saying takes a scene's log.
type saying struct{ *scene }

func (y saying) Write(line []byte) (int, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	_, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" ")) // without the time
	y.said = append(y.said, moment{y.now(), string(text)})
	return len(line), nil
}
