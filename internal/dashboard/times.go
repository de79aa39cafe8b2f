// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"strings"
	"time"
)

// timeShown is a time as people read it, and the exact one for who points at it, and for machines.
type timeShown struct {
	Relative string // "3 minutes ago", "in 2 days"; "" for the zero time
	Exact    string // RFC 3339, in UTC
}

// steps of relative times: what lasts at least so long is counted in this unit, whose texts are those of one and of
// several.
var steps = []struct {
	one, several string
	of           time.Duration
}{
	{"time.year", "time.years", 365 * 24 * time.Hour},
	{"time.month", "time.months", 30 * 24 * time.Hour},
	{"time.day", "time.days", 24 * time.Hour},
	{"time.hour", "time.hours", time.Hour},
	{"time.minute", "time.minutes", time.Minute},
}

// showTime says how far t is from now, in the largest unit of which it is at least one, rounded down. Months are 30
// days and years 365: whoever needs it exactly has Exact.
func (p *pages) showTime(t, now time.Time) timeShown {
	if t.IsZero() {
		return timeShown{}
	}
	shown := timeShown{Exact: t.UTC().Format(time.RFC3339)}
	way, least := "time.ago", "time.now"
	if t.After(now) {
		way, least = "time.in", "time.soon"
	}
	between := t.Sub(now).Abs()
	for _, s := range steps {
		if between < s.of {
			continue
		}
		unit := p.text(s.one)
		if n := int(between / s.of); n > 1 {
			unit = p.text(s.several, n)
		}
		shown.Relative = p.text(way, unit)
		return shown
	}
	shown.Relative = p.text(least)
	return shown
}

// lasts is how long something is, as people write it: 720h and 1m30s, and not 720h0m0s.
func lasts(d time.Duration) string {
	text := d.String()
	for _, none := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, none) {
			text = text[:len(text)-2]
		}
	}
	return text
}
