// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package retry holds what every loop that tries again needs: a pause that ends with its context, attempts that become
// fewer, and a complaint that is made once. It knows nothing of what is tried.
package retry

import (
	"context"
	"time"
)

// Pause waits for d. It returns false as soon as ctx ends, and true otherwise.
//
// It runs on the machine's own clock: a loop that is tested on a fake one waits on that clock's timers instead.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Backoff is the pause between attempts: First after the first failure, twice as long after each further one, and
// never longer than Most.
type Backoff struct{ First, Most time.Duration }

// Until calls do until it succeeds. After each failure it asks again whether to go on: if that returns false, Until
// returns the error of the last attempt. When ctx ends, it returns ctx's error, whatever the last attempt said.
func (b Backoff) Until(ctx context.Context, do func(context.Context) error, again func(error) bool) error {
	for pause := b.First; ; pause = min(2*pause, b.Most) {
		err := do(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !again(err):
			return err
		case !Pause(ctx, pause):
			return ctx.Err()
		}
	}
}

// Complaint keeps a log from saying the same thing again and again. The zero Complaint lets a text through when it
// differs from the one before; with Every, it lets the same text through once in that time, too.
//
// It is for one goroutine: the loop that fails.
type Complaint struct {
	// Every is the time after which the same text is said again; 0: it is not.
	Every time.Duration

	text string
	at   time.Time
}

// Due tells whether text is to be logged at now, and takes it for logged if so.
func (c *Complaint) Due(text string, now time.Time) bool {
	if text == c.text && (c.Every == 0 || now.Sub(c.at) < c.Every) {
		return false
	}
	c.text, c.at = text, now
	return true
}

// Standing tells whether something was complained of that has not been cleared since.
func (c *Complaint) Standing() bool { return c.text != "" }

// Clear ends a complaint: what it was about works again. The next one is due at once.
func (c *Complaint) Clear() { c.text, c.at = "", time.Time{} }
