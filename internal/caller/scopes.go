// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package caller

import (
	"strings"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Scopes is a set of v1alpha1.Scope: bit i is v1alpha1.Scopes[i]. It never leaves the process, so that the order of
// that list may change.
type Scopes uint8

// There is one bit for each: a ninth scope does not compile until the type is made wider.
const _ = uint(8 - len(v1alpha1.Scopes))

// AllScopes is the set of every scope there is. It follows the list by itself.
const AllScopes = Scopes(1<<len(v1alpha1.Scopes) - 1)

// ScopesOf returns the set of the named scopes. Unknown names are left out: they grant nothing.
func ScopesOf(names []v1alpha1.Scope) Scopes {
	var s Scopes
	for _, name := range names {
		s |= scopeOf(name)
	}
	return s
}

// scopeOf returns the set of one scope; of none, if the name is unknown.
func scopeOf(name v1alpha1.Scope) Scopes {
	for i, known := range v1alpha1.Scopes {
		if name == known {
			return 1 << i
		}
	}
	return 0
}

// Has tells whether the set holds scope.
func (s Scopes) Has(scope v1alpha1.Scope) bool { return s&scopeOf(scope) != 0 }

// names of each set that there is: 64 lists, made once and not for every answer that shows one.
var names = func() (lists [AllScopes + 1][]string) {
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

// Names returns the scopes of the set, in the order in which the documentation lists them; never nil. The slice is
// shared and must not be changed.
func (s Scopes) Names() []string { return names[s&AllScopes] }

// joined are the names of each set as one text, made once like them.
var joined = func() (texts [AllScopes + 1]string) {
	for set, list := range names {
		texts[set] = strings.Join(list, " ")
	}
	return texts
}()

// String lists the scopes as RFC 6749 section 3.3 writes them: separated by spaces.
func (s Scopes) String() string { return joined[s&AllScopes] }
