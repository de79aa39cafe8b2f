// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Appender is a response that is asked for so often that it writes its own JSON: the bytes that encoding/json would
// write. The library that decodes here writes them too, but takes 2.3 times as long for a whoami and 2.8 for a post, at
// best: with tokens and without reflection. That is 2 % of either request, and a fifth of what a whoami may cost us.
// Tests compare it with encoding/json for each shape that has it.
type Appender interface{ AppendJSON(b []byte) []byte }

// AppendString appends a string's JSON. What needs no escapes, as nearly all, is copied; the library escapes the rest,
// in a sixth of the time that encoding/json takes.
func AppendString(b []byte, s string) []byte {
	if !isPlain(s) {
		return appendEscaped(b, strings.Clone(s)) // so that s, which is plain mostly, need not be on the heap
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// AppendCharacters appends what stands between the quotes of a string's JSON: for a text that comes in parts.
func AppendCharacters(b []byte, s string) []byte {
	if isPlain(s) {
		return append(b, s...)
	}
	quoted := AppendString(nil, s)
	return append(b, quoted[1:len(quoted)-1]...)
}

// isPlain tells whether s is its own JSON, quotes aside. "&", "<" and ">" are: no HTML is escaped here, see bodies. All
// bytes are looked at first, and only then for what characters they are: most are of ASCII.
func isPlain(s string) bool {
	var escaped, all uint64
	last := len(s) - wordLen
	for i := 0; i < last; i += wordLen {
		word := binary.LittleEndian.Uint64([]byte(s[i : i+wordLen]))
		escaped, all = escaped|escapedIn(word), all|word
	}
	word := spaces // what is shorter than one is filled up
	if last >= 0 {
		word = binary.LittleEndian.Uint64([]byte(s[last:])) // some of it once more, rather than byte by byte
	} else {
		for _, c := range []byte(s) {
			word = word<<8 | uint64(c)
		}
	}
	escaped, all = escaped|escapedIn(word), all|word
	if escaped&highBits != 0 {
		return false
	}
	return all&highBits == 0 || utf8.ValidString(s) && !hasSeparator(s)
}

// A word is eight bytes of a text, which are looked at in one step: byte by byte takes three times as long, and was
// most of what writing a whoami took.
const (
	wordLen         = 8
	ones     uint64 = 0x0101010101010101
	highBits        = ones << 7
	spaces          = ones * ' '
)

// escapedIn has the high bit of a byte set if any byte of a word is one that no string of JSON has in it as it is: a
// control character, a quote or a backslash. Which byte it is, it does not tell: a borrow may set others above it.
func escapedIn(word uint64) uint64 {
	quotes, backslashes := word^ones*'"', word^ones*'\\' // zero where they are
	return (word-spaces)&^word | (quotes-ones)&^quotes | (backslashes-ones)&^backslashes
}

// appendEscaped leaves to encoding/json the two things that the library writes in another way: invalid UTF-8, and the
// separators that JavaScript stumbles over. Clients may depend on the bytes.
func appendEscaped(b []byte, s string) []byte {
	quoted, err := jsontext.AppendQuote(b, s)
	if err != nil || hasSeparator(s) {
		return AppendEncoded(b, s)
	}
	return quoted
}

// hasSeparator looks for U+2028 and U+2029. strings.ContainsAny would decode each character of s, which takes longer
// than all else here.
func hasSeparator(s string) bool {
	const first = 0xe2 // of the three bytes of either; and of an ellipsis, and of quotes, which are frequent
	for i := strings.IndexByte(s, first); i >= 0; i = strings.IndexByte(s, first) {
		if s = s[i:]; strings.HasPrefix(s, "\u2028") || strings.HasPrefix(s, "\u2029") {
			return true
		}
		s = s[1:]
	}
	return false
}

// AppendStringOrNull appends the JSON of s; nil is null.
func AppendStringOrNull(b []byte, s *string) []byte {
	if s == nil {
		return append(b, `null`...)
	}
	return AppendString(b, *s)
}

// AppendTime appends the JSON of a time whose year has four digits: RFC 3339 can't write others, and encoding/json
// fails there. Times that can't be written don't come this far: checkSchedule of package posting refuses them.
func AppendTime(b []byte, t time.Time) []byte {
	b = t.AppendFormat(append(b, '"'), time.RFC3339Nano)
	return append(b, '"')
}

// AppendTimeOrNull appends the JSON of t, as AppendTime does; nil is null.
func AppendTimeOrNull(b []byte, t *time.Time) []byte {
	if t == nil {
		return append(b, `null`...)
	}
	return AppendTime(b, *t)
}

// AppendEncoded leaves it to encoding/json. v is known to have a JSON, so there is no error to tell. The newline is
// Encode's, which stands between two values of a stream.
func AppendEncoded(b []byte, v any) []byte {
	text := newBody()
	defer text.free()
	_ = text.encode(v)
	return append(b, bytes.TrimSuffix(text.buffer.Bytes(), []byte("\n"))...)
}
