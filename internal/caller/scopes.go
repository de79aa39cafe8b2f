// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"slices"
	"strings"
	"unique"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Scopes is a set of v1alpha1.Scope. Two that hold the same are equal by ==. It costs nothing to copy, and no memory of
// its own: what keys have of scopes of somebody's own, they share with all others that have the same.
type Scopes struct {
	known uint8 // bit i is v1alpha1.Scopes[i]; it never leaves the process, so that the order of that list may change
	// own is the text of the whole set, as String has it, if there are scopes of somebody's own; otherwise zero.
	own unique.Handle[string]
}

// There is one bit for each: a ninth scope does not compile until the type is made wider.
const _ = uint(8 - len(v1alpha1.Scopes))

// allKnown has the bits of all of them. It follows the list by itself.
const allKnown = 1<<len(v1alpha1.Scopes) - 1

// AllScopes is the set of every scope that this API knows, and of no others.
var AllScopes = Scopes{known: allKnown}

// ScopesOf returns the set of the named scopes. Names of neither kind are left out: they grant nothing.
func ScopesOf(names []v1alpha1.Scope) Scopes {
	var s Scopes
	var own []string
	for _, name := range names {
		if bit := bitOf(name); bit != 0 {
			s.known |= bit
		} else if name.Own() {
			own = append(own, string(name))
		}
	}
	if own != nil {
		slices.Sort(own) // in one order whatever the object's is, so that keys share them
		s.own = unique.Make(strings.Join(slices.Concat(knownNames[s.known], slices.Compact(own)), " "))
	}
	return s
}

// bitOf returns the bit of one scope; 0, if this API does not know it.
func bitOf(name v1alpha1.Scope) uint8 {
	for i, known := range v1alpha1.Scopes {
		if name == known {
			return 1 << i
		}
	}
	return 0
}

// Has tells whether the set holds scope.
func (s Scopes) Has(scope v1alpha1.Scope) bool {
	if bit := bitOf(scope); bit != 0 {
		return s.known&bit != 0
	}
	if s.own == (unique.Handle[string]{}) {
		return false
	}
	for name := range strings.SplitSeq(s.own.Value(), " ") {
		if name == string(scope) {
			return true
		}
	}
	return false
}

// knownNames are the names of each set that has none of somebody's own: 64 lists, made once and not for every answer
// that shows one.
var knownNames = func() (lists [allKnown + 1][]string) {
	for set := range lists {
		lists[set] = []string{}
		for i, name := range v1alpha1.Scopes {
			if set&(1<<i) != 0 {
				lists[set] = append(lists[set], string(name))
			}
		}
	}
	return lists
}()

// Names returns the scopes of the set: those that the documentation lists, in its order, then others by the alphabet;
// never nil. The slice may be shared and must not be changed.
func (s Scopes) Names() []string {
	if s.own == (unique.Handle[string]{}) {
		return knownNames[s.known]
	}
	return strings.Split(s.own.Value(), " ")
}

// Length is about how long the names are in an answer, in bytes. It costs less than to write them.
func (s Scopes) Length() int {
	if s.own == (unique.Handle[string]{}) {
		return len(knownJSON[s.known])
	}
	// Each blank becomes two quotes and a comma.
	return len(s.own.Value()) + 2*strings.Count(s.own.Value(), " ") + len(`[""]`)
}

// knownTexts are the names of each such set as one text, made once like them.
var knownTexts = func() (texts [allKnown + 1]string) {
	for set, list := range knownNames {
		texts[set] = strings.Join(list, " ")
	}
	return texts
}()

// knownJSON are the names of each such set as an array of JSON, made once like them. No name has a character in it that
// would be escaped.
var knownJSON = func() (texts [allKnown + 1]string) {
	for set, list := range knownNames {
		texts[set] = `["` + strings.Join(list, `","`) + `"]`
	}
	texts[0] = `[]`
	return texts
}()

// JSON is Names as an array of JSON, if it was made beforehand: of sets that have no scopes of somebody's own. Of
// others it is "".
func (s Scopes) JSON() string {
	if s.own == (unique.Handle[string]{}) {
		return knownJSON[s.known]
	}
	return ""
}

// String lists the scopes as RFC 6749 section 3.3 writes them: separated by spaces. It allocates nothing.
func (s Scopes) String() string {
	if s.own == (unique.Handle[string]{}) {
		return knownTexts[s.known]
	}
	return s.own.Value()
}
