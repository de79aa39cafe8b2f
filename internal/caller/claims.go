// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Claims are what a key's owner has services told of it: names with texts. They decide nothing here. Those that are
// the same are equal by ==. They don't share their memory as Scopes do: most say of each key something else, and to
// keep account of what is shared would take several times the text.
type Claims struct {
	text string // as String has it
}

// ClaimsOf returns the claims of an ApiKey. What the schema would not have let in is left out: an object that has got
// past it must not write a header of its choice.
func ClaimsOf(claims map[string]v1alpha1.ClaimValue) Claims {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := claims[name]
		if !v1alpha1.IsClaim(name, value) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + `="` + string(value) + `"`)
	}
	return Claims{text: strings.Clone(b.String())} // without the room that it grew by
}

// String is a dictionary of strings as RFC 9651 writes it, sorted by name: customer="42", plan="gold". No value has a
// character in it that would be escaped there, nor a comma, or "".
func (c Claims) String() string { return c.text }

// All are the claims, sorted by name.
func (c Claims) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		if c == (Claims{}) {
			return
		}
		for claim := range strings.SplitSeq(c.text, ", ") {
			name, value, _ := strings.Cut(claim, "=")
			if !yield(name, value[1:len(value)-1]) {
				return
			}
		}
	}
}

// Map are the claims by name; never nil. It must not be changed: all who have none share one.
func (c Claims) Map() map[string]string {
	if c.text == "" {
		return noClaims
	}
	return maps.Collect(c.All())
}

var noClaims = map[string]string{}
