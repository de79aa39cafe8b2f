// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import "strings"

// List is platforms, in the order in which documentation lists them. Whatever names the platforms to a caller (enums,
// filters, sentences) is made of a List, so that none of them can miss one.
type List []Platform

// Get returns the platform of a name, and whether there is one.
func (l List) Get(name Name) (Platform, bool) {
	for i := range l {
		if l[i].Name == name {
			return l[i], true
		}
	}
	return Platform{}, false
}

// Names returns the names as text, for the values of an enum or of a filter. The caller may change what it gets.
func (l List) Names() []string {
	names := make([]string, len(l))
	for i := range l {
		names[i] = string(l[i].Name)
	}
	return names
}

// Sentence tells a person which platforms there are: "The platforms are bluesky and linkedin."
func (l List) Sentence() string {
	switch names := l.Names(); len(names) {
	case 0:
		return "There are no platforms."
	case 1:
		return "The only platform is " + names[0] + "."
	default:
		last := len(names) - 1
		return "The platforms are " + strings.Join(names[:last], ", ") + " and " + names[last] + "."
	}
}
