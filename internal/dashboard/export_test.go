// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// MaxCalls is how many requests to the apiserver a page costs at most.
const MaxCalls = maxCalls

// Screen is a screen, for tests that go through all of them.
type Screen struct {
	Method, Path string
	Anyone       bool // also who is not signed in
	OfPage       bool // its form says of which organization it is
}

// Screens are all screens of a dashboard.
func Screens(d *Dashboard) (all []Screen) {
	for _, s := range d.screens() {
		all = append(all, Screen{s.Method, s.Path, s.Access == anyone, s.OfPage})
	}
	return all
}

// ShownTo stands for a person in a label.
func ShownTo(username string) string { return shownTo(username) }

// ExcerptOf is the beginning of a text, in one line.
func ExcerptOf(text string) string { return excerptOf(text) }

// Text is a text with values put in.
func Text(key string, values ...any) string { return allPages().text(key, values...) }

// Relative is how far a time is from now, in words.
func Relative(t, now time.Time) string { return allPages().showTime(t, now).Relative }

func allPages() *pages {
	p, err := newPages(clocktesting.NewFakePassiveClock(time.Time{}))
	if err != nil {
		panic(err)
	}
	return p
}
