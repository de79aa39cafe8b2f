// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// reserved is what means something in the text of a post, which LinkedIn calls "little text". It cuts a text off,
// without a word, where one of them stands that is not escaped. Comments, alternative texts and titles are plain text,
// where backslashes would be seen.
const reserved = `\|{}@[]()<>#*_~`

// hashtag is what people mean as one: letters, digits and marks, and not digits alone. So nothing in it is reserved,
// and escape writes it as it is.
var hashtag = regexp.MustCompile(`^#[0-9]*\pL[\pL\pM0-9]*`)

// escape makes little text that reads exactly as text. Hashtags are written as such, or nothing could be found by them.
// It is one pass: to replace one reserved character after the other would escape the backslashes of those before. The
// limit of a text's length is held against the text before (Preflight): whether LinkedIn counts backslashes is not
// documented.
func escape(text string) string {
	var b strings.Builder
	b.Grow(len(text) + 16)
	for i := 0; i < len(text); {
		if text[i] == '#' && !inWord(text[:i]) {
			if tag := hashtag.FindString(text[i:]); tag != "" {
				b.WriteString(`{hashtag|\#|` + tag[1:] + "}")
				i += len(tag)
				continue
			}
		}
		// All that is reserved is ASCII, of which no byte is part of another character.
		if strings.IndexByte(reserved, text[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// inWord tells whether what comes next goes on with a word, as the # of a C#major does. A hashtag there would break
// the word in two.
func inWord(before string) bool {
	r, _ := utf8.DecodeLastRuneInString(before)
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}
