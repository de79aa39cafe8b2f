// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"fmt"
	"strings"
	"time"
)

// timeShown is a time as people read it, and the exact one for who points at it, and for machines.
type timeShown struct {
	Relative string // "3 minutes ago", "in 2 days"; "" for the zero time
	Exact    string // RFC 3339, in UTC
}

// steps of relative times: what lasts at least so long is counted in this unit.
var steps = []struct {
	unit string
	of   time.Duration
}{
	{"year", 365 * 24 * time.Hour},
	{"month", 30 * 24 * time.Hour},
	{"day", 24 * time.Hour},
	{"hour", time.Hour},
	{"minute", time.Minute},
}

func showTime(t, now time.Time) timeShown {
	if t.IsZero() {
		return timeShown{}
	}
	shown := timeShown{Relative: "just now", Exact: t.UTC().Format(time.RFC3339)}
	ahead := t.After(now)
	between := t.Sub(now).Abs()
	for _, s := range steps {
		if between < s.of {
			continue
		}
		n, plural := int(between/s.of), "s"
		if n == 1 {
			plural = ""
		}
		if shown.Relative = fmt.Sprintf("%d %s%s ago", n, s.unit, plural); ahead {
			shown.Relative = fmt.Sprintf("in %d %s%s", n, s.unit, plural)
		}
		return shown
	}
	if ahead {
		shown.Relative = "in less than a minute"
	}
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
