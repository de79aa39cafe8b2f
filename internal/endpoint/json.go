// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

// Appender is a response that is asked for so often that it writes its own JSON: the bytes that encoding/json would
// write.
type Appender interface{ AppendJSON(b []byte) []byte }

// AppendString appends a string's JSON. What needs no escape, as nearly all do, is copied.
func AppendString(b []byte, s string) []byte {
	if needsEscape(s) {
		return AppendEncoded(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// needsEscape tells whether encoding/json would escape anything in s: it does so with invalid UTF-8, and with the line
// and paragraph separators that JavaScript stumbles over.
func needsEscape(s string) bool {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c == '"', c == '\\':
			return true
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return !ascii && (!utf8.ValidString(s) || strings.ContainsAny(s, "\u2028\u2029"))
}

// AppendStringOrNull appends what stringOrNull returns.
func AppendStringOrNull(b []byte, s *string) []byte {
	if s == nil {
		return append(b, `null`...)
	}
	return AppendString(b, *s)
}

// AppendTime appends the JSON of a time whose year has four digits: others have none.
func AppendTime(b []byte, t time.Time) []byte {
	b = t.AppendFormat(append(b, '"'), time.RFC3339Nano)
	return append(b, '"')
}

// AppendTimeOrNull appends what timeOrNull returns.
func AppendTimeOrNull(b []byte, t *time.Time) []byte {
	if t == nil {
		return append(b, `null`...)
	}
	return AppendTime(b, *t)
}

// AppendEncoded leaves it to encoding/json. v has a JSON.
func AppendEncoded(b []byte, v any) []byte {
	text := newBody()
	defer text.free()
	_ = text.encode(v)
	return append(b, bytes.TrimSuffix(text.buffer.Bytes(), []byte("\n"))...)
}
