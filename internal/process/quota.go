// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"strconv"
)

// Unbounded is how a flag says that there is no bound. Nothing else does: zero may be a mistake.
const Unbounded = "none"

// ParseQuota reads how much of something one organization may have; 0: any number.
func ParseQuota(text string) (int64, error) {
	if text == Unbounded {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("want a number from 1 on, or %s, not %q", Unbounded, text)
	}
	return n, nil
}
