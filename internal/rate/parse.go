// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package rate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultText limits floods, and not those who ask often: a thousand requests a second, for a minute. It is the default
// for keys and for addresses without a valid key, which have no reason to ask more often than those with one.
const DefaultText = "60000/1m"

// Bounds of rates. They are those of spec.rateLimit (api/v1alpha1): what can be said of one key can be said of all.
const (
	maxRequests = 1_000_000
	minWindow   = time.Second
	maxWindow   = 24 * time.Hour
)

// Parse reads "REQUESTS/WINDOW", or "none", which is the zero Rate. The error is for people, and does not name the
// flag. A window is a Go duration, such as 1m or 90s.
func Parse(text string) (Rate, error) {
	if text == "none" {
		return Rate{}, nil
	}
	requests, window, _ := strings.Cut(text, "/")
	n, err := strconv.ParseInt(requests, 10, 64)
	d, windowErr := time.ParseDuration(window)
	if err != nil || windowErr != nil || n < 1 || n > maxRequests || d < minWindow || d > maxWindow {
		return Rate{}, fmt.Errorf("want REQUESTS/WINDOW, such as 60000/1m, "+
			"with 1 to 1000000 requests and a window of 1s to 24h, or none; not %q", text)
	}
	return Rate{Requests: n, Window: d}, nil
}
