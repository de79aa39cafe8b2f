// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package problem

import "strings"

// Excerpt is a text that others have written, as far as it may stand in an answer or a log: its first most bytes, in
// whole characters, and an ellipsis, so that nobody takes them for all of it.
func Excerpt(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
