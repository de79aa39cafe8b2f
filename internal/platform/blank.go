// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"strings"
	"unicode"
)

// IsBlank tells whether nobody would see anything of a text: it has white space, control and format characters, and
// what Unicode says is to be ignored in display, such as U+200B, and nothing else. A platform takes such a post, or
// refuses it; nobody means one.
func IsBlank(text string) bool {
	return strings.IndexFunc(text, isSeen) < 0
}

func isSeen(c rune) bool {
	switch {
	case unicode.Is(unicode.Prepended_Concatenation_Mark, c): // format characters that are drawn, around digits
		return true
	case unicode.IsSpace(c), unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Zs),
		unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return false
	}
	return true
}
