// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
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
		return appendEscaped(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// isPlain tells whether s is its own JSON, quotes aside. "&", "<" and ">" are: no HTML is escaped here, see bodies. All
// bytes are looked at by one table, and only then for what characters they are: most are of ASCII.
func isPlain(s string) bool {
	var all byte
	for i := range len(s) {
		if escaped[s[i]] {
			return false
		}
		all |= s[i]
	}
	return all < utf8.RuneSelf || utf8.ValidString(s) && !hasSeparator(s)
}

// escaped are the bytes that no string of JSON has in it as they are.
var escaped = func() (table [256]bool) {
	for c := range byte(' ') {
		table[c] = true
	}
	table['"'], table['\\'] = true, true
	return table
}()

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
	const first = 0xe2 // of the three bytes of either
	return strings.IndexByte(s, first) >= 0 && (strings.Contains(s, "\u2028") || strings.Contains(s, "\u2029"))
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
