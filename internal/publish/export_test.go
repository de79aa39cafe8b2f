// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// Hurry makes the times short that would keep a test waiting. It is called before Run.
func (p *Publisher) Hurry(overdueAfter, orphanAfter, recordWithin time.Duration) {
	p.pace.overdueAfter, p.pace.orphanAfter, p.pace.recordWithin = overdueAfter, orphanAfter, recordWithin
}

// HurryUpkeep does all upkeep that often. It is called before Run.
func (p *Publisher) HurryUpkeep(every time.Duration) {
	p.pace.lost, p.pace.overdue, p.pace.release, p.pace.purge = every, every, every, every
}

// HurryPauses makes the pauses short between attempts, for all publishers, until the test ends.
func HurryPauses(t interface{ Cleanup(func()) }, pause time.Duration) {
	before := pauses
	pauses.First, pauses.Most = pause, pause
	t.Cleanup(func() { pauses = before })
}

// Ending tells whether the end of Run has begun: nothing more is sent.
func (p *Publisher) Ending() bool { return p.requests.isEnding() }

// HurryEnd makes the end of Run wait that long for what is left to be written.
func (p *Publisher) HurryEnd(grace time.Duration) { p.pace.recordingGrace = grace }

// Attempt makes an attempt that is stored already.
func (p *Publisher) Attempt(ctx context.Context, post store.Post, t store.Try) store.Outcome {
	return p.attempt(ctx, post, t, nil)
}

// RequeueOverdue is what Run does every so often.
func (p *Publisher) RequeueOverdue(ctx context.Context) error { return p.requeueOverdue(ctx) }

// Release is what Run does every so often.
func (p *Publisher) Release(ctx context.Context) error { return p.release(ctx) }

// DeleteOrphans is what Run does every so often.
func (p *Publisher) DeleteOrphans(ctx context.Context) error { return p.deleteOrphans(ctx) }

// PauseAfter is how long after an attempt the next one is made, at least.
func PauseAfter(number int) time.Duration { return pauseAfter(number) }

// LastPriority is that of the jobs of whichever organization has the most queued.
const LastPriority = lastPriority
