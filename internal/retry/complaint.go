// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import "time"

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
