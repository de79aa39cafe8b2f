// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"strings"
	"testing"
)

// TestAppendString: each byte, and what begins like a separator of lines, at each place of texts of every length up to
// a few words, is what encoding/json writes.
func TestAppendString(t *testing.T) {
	odd := []string{"", "…", "\u2027", "\u2028", "\u2029", "\u202a", "\xe2", "\xe2\x80", "é", "\U0001f600"}
	for c := range 256 {
		odd = append(odd, string([]byte{byte(c)}))
	}
	const longest = 19
	for _, s := range odd {
		for length := range longest {
			for at := range length + 1 {
				for _, other := range []string{"a", "…", "\x7f"} {
					text := strings.Repeat(other, at) + s + strings.Repeat(other, length-at)
					got, want := string(AppendString(nil, text)), string(AppendEncoded(nil, text))
					if got != want {
						t.Fatalf("%q: got %s, want %s", text, got, want)
					}
				}
			}
		}
	}
}
