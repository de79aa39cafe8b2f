// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

func TestRelativeTimes(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for from, want := range map[time.Duration]string{
		0:                     "just now",
		-59 * time.Second:     "just now",
		time.Second:           "in less than a minute",
		-time.Minute:          "1 minute ago",
		2*time.Minute - 1:     "in 1 minute",
		-119 * time.Minute:    "1 hour ago",
		23*time.Hour + 1:      "in 23 hours",
		-day:                  "1 day ago",
		29 * day:              "in 29 days",
		-59 * day:             "1 month ago",
		364 * day:             "in 12 months",
		-3 * 365 * day:        "3 years ago",
		365*day + 364*day - 1: "in 1 year",
	} {
		if got := dashboard.Relative(now.Add(from), now); got != want {
			t.Errorf("%v from now is %q, want %q", from, got, want)
		}
	}
	if got := dashboard.Relative(time.Time{}, now); got != "" {
		t.Errorf("no time is %q", got)
	}
}
