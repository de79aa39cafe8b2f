// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Version is one of LinkedIn's API, such as "202607". There is one a month, which every request names, and about a year
// later all requests that name it are refused (426). So it is configured, and not only compiled in.
type Version string

// DefaultVersion is what this program has been written for. LinkedIn takes it until about 2027-07-15.
const DefaultVersion Version = "202607"

// layout is that of a version, for package time. ParseVersion has seen to it that no Version is anything else.
const layout = "200601"

// ParseVersion checks that a text is a version's. The error is for whoever has set it; whether LinkedIn takes that
// version is not known by it.
func ParseVersion(text string) (Version, error) {
	if _, err := time.Parse(layout, text); err != nil {
		return "", fmt.Errorf("want the year and the month of a version, such as %s, not %q", DefaultVersion, text)
	}
	return Version(text), nil
}

// sunsets are those that LinkedIn has announced. Any other is taken to end on the 15th of its month a year later: none
// has ended earlier. Whoever raises DefaultVersion adds it here, if its day is known.
var sunsets = map[Version]string{
	"202511": "2026-11-16", "202601": "2027-01-15", "202602": "2027-02-15", "202603": "2027-03-16",
}

// Sunset is when LinkedIn stops taking the version. Only the day is known; this is its beginning, in UTC.
func (v Version) Sunset() time.Time {
	if t, err := time.Parse(time.DateOnly, sunsets[v]); err == nil {
		return t
	}
	month, _ := time.Parse(layout, string(v))
	return month.AddDate(1, 0, 14)
}

// named is how failures call the version.
func (v Version) named() string { return "version " + string(v) + " of its API" }

// warnFor is how long before a sunset it is spoken of: long enough for an upgrade that waits for its turn.
const warnFor = 60 * 24 * time.Hour

// Collector has the metric of a version's sunset, for whoever has New's LinkedIn as well. It is there from the start
// on, and not made by New, which registers nothing.
func Collector(v Version) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lmp_linkedin_version_sunset_timestamp_seconds",
		Help: "When LinkedIn stops taking the version of its API that this process uses (UNIX time).",
	})
	g.Set(float64(v.Sunset().Unix()))
	return g
}

// sunsetIn tells how many days are left of the version, if they are few. It may be less than none.
func (s *service) sunsetIn() (days int, soon bool) {
	left := s.Version.Sunset().Sub(s.Clock.Now())
	return int(left / (24 * time.Hour)), left < warnFor
}

// notices tell everybody with an account of a sunset that is near, or past: it is none of theirs to mend, and their
// posts wait for it.
func (s *service) notices() []platform.Warning {
	if _, soon := s.sunsetIn(); !soon {
		return nil
	}
	day := s.Version.Sunset().Format(time.DateOnly)
	message := "LinkedIn stops taking what this server sends around " + day +
		", unless the server is brought up to date before. Tell whoever runs it."
	if !s.Clock.Now().Before(s.Version.Sunset()) {
		message = "LinkedIn takes what this server sends no more since about " + day +
			". Posts wait until the server is brought up to date. Tell whoever runs it."
	}
	return []platform.Warning{{Code: ruleSunset, Message: message}}
}

// watchSunset logs a sunset that is near, once in a while. It is called when LinkedIn is about to be used. There is
// no loop for it, so a process that nobody uses LinkedIn by says it at its start alone.
func (s *service) watchSunset() {
	days, soon := s.sunsetIn()
	if !soon {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.near.Due(string(s.Version), s.Clock.Now()) {
		s.Logger.Warn("LinkedIn stops taking the version of its API that this server uses: set a newer one",
			"version", s.Version, "sunset", s.Version.Sunset().Format(time.DateOnly), "days left", days,
			"flag", "--linkedin-version")
	}
}

// complain logs that the sunset has come: LinkedIn has said so.
func (s *service) complain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passed.Due(string(s.Version), s.Clock.Now()) {
		s.Logger.Error("LinkedIn has stopped taking the version of its API that this server uses: set a newer one",
			"version", s.Version, "flag", "--linkedin-version")
	}
}
