// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestIdempotencyKeyForms(t *testing.T) {
	longest := strings.Repeat("k", maxIdempotencyKey)
	for _, c := range []struct {
		reason string
		sent   []string
		want   string
		err    error
	}{
		{"none", nil, "", nil},
		{"bare", []string{"01HY6X4AWBJM2K9F2PTQMRD9JQ"}, "01HY6X4AWBJM2K9F2PTQMRD9JQ", nil},
		{"quoted", []string{`"01HY6X4AWBJM2K9F2PTQMRD9JQ"`}, "01HY6X4AWBJM2K9F2PTQMRD9JQ", nil},
		{"escapes", []string{`"a\"b\\c"`}, `a"b\c`, nil},
		{"bare, and nothing in it is an escape", []string{`a\"b`}, `a\"b`, nil},
		{"white space around", []string{"\t a \t"}, "a", nil},
		{"white space within", []string{"a b"}, "a b", nil},
		{"one character", []string{"a"}, "a", nil},
		{"the longest", []string{longest}, longest, nil},
		{"the longest, quoted", []string{`"` + longest + `"`}, longest, nil},
		{"too long", []string{longest + "k"}, "", errIdempotencyKeyLength},
		{"empty", []string{""}, "", errIdempotencyKeyLength},
		{"empty, quoted", []string{`""`}, "", errIdempotencyKeyLength},
		{"white space", []string{"  "}, "", errIdempotencyKeyLength},
		{"two headers", []string{"a", "a"}, "", errIdempotencyKeyFormat},
		{"non-ASCII", []string{"é"}, "", errIdempotencyKeyFormat},
		{"invalid UTF-8", []string{"\xff"}, "", errIdempotencyKeyFormat},
		{"a control character", []string{"a\x7f"}, "", errIdempotencyKeyFormat},
		{"a line break", []string{"a\nb"}, "", errIdempotencyKeyFormat},
		{"a quote that is not closed", []string{`"a`}, "", errIdempotencyKeyFormat},
		{"a quote alone", []string{`"`}, "", errIdempotencyKeyFormat},
		{"an escape at the end", []string{`"a\`}, "", errIdempotencyKeyFormat},
		{"an escape of nothing", []string{`"a\b"`}, "", errIdempotencyKeyFormat},
		{"more behind the quotes", []string{`"a"b`}, "", errIdempotencyKeyFormat},
	} {
		got, err := idempotencyKey(c.sent)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.reason, got, err, c.want, c.err)
		}
	}
}

// FuzzIdempotencyKey: what is accepted is printable and not too long, and the same when it is quoted.
func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"a", `"a"`, `"a\"b\\"`, `"`, `a"b`, " ", "\x00", "é", strings.Repeat("k", 256)} {
		f.Add(s)
	}
	escape := strings.NewReplacer(`"`, `\"`, `\`, `\\`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := idempotencyKey([]string{s})
		if err != nil {
			if got != "" {
				t.Errorf("%q: %q and %v", s, got, err)
			}
			return
		}
		if got == "" || len(got) > maxIdempotencyKey || !printable(got) {
			t.Errorf("%q is accepted as %q", s, got)
		}
		if quoted, err := idempotencyKey([]string{`"` + escape.Replace(got) + `"`}); quoted != got || err != nil {
			t.Errorf("%q, quoted, is %q, %v", got, quoted, err)
		}
	})
}

// FuzzPayload: a body that is accepted is valid UTF-8 without members that are unknown or given twice, and means what
// encoding/json takes it to mean. One that is not has a rule that may be logged.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"text":"a","text":"b"}`, `{"Text":"a"}`, `{"text":"\ud800"}`, "{\"text\":\"\xff\"}", `{"text":1}`,
		`{"targets":[{"accountId":"a","platform":"bluesky","text":null,"media":[{"kind":"image","mediaId":"m"}],"options":{"platform":"bluesky"}}],"text":"x","publishNow":true}`,
		`{"targets":[{"accountID":"a"}],"scheduledAt":"2026-05-08T12:00:00.5+01:00"}`, `{"scheduledAt":"2026-05-08 12:00"}`,
		`{"targets":[{"text":"a","text":"b"}]}`, `{} {}`, `{"text":"a"}x`, strings.Repeat("[", 20_000), `{"targets":` + strings.Repeat("[", 500) + `}`,
		`{"` + strings.Repeat("x", 200) + `":1}`, `{"firstComment":{"text":"a","more":1}}`, `{"identifier":"a","identifier":"b"}`, `{"..targets"`, `{"targets.0.text":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var posts createPosts
		accepts(t, payload, &posts, new(createPosts))
		accepts(t, payload, new(editPost), new(editPost))
		accepts(t, payload, new(completeConnection), new(completeConnection))
	})
}

// accepts reads a body in our way into one value and in the standard library's into another.
func accepts(t *testing.T, payload []byte, into, other any) {
	t.Helper()
	if err := decodeJSON(payload, into); err != nil {
		var p *problem
		if !errors.As(err, &p) || p.status != 400 || p.code != codeValidationFailed || len(p.rule) > maxRule {
			t.Fatalf("%q: %v", payload, err)
		}
		for name := range strings.SplitSeq(p.rule, ".") {
			if !validRequestID(name) {
				t.Errorf("%q: the rule %q is the caller's own words", payload, p.rule)
			}
		}
		return
	}
	if len(payload) == 0 {
		return
	}
	if !utf8.Valid(payload) {
		t.Errorf("%q is accepted, and no UTF-8", payload)
	}
	if twice(json.NewDecoder(bytes.NewReader(payload))) {
		t.Errorf("%q is accepted, with a member that is there twice", payload)
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	if reflect.TypeOf(other).Elem().Kind() == reflect.Struct {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(other); err != nil {
		t.Fatalf("%q is accepted, and encoding/json says %v", payload, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		t.Errorf("%q is accepted, and something follows", payload)
	}
	if diff := cmp.Diff(other, into); diff != "" {
		t.Errorf("%q (-encoding/json +ours):\n%s", payload, diff)
	}
}

// twice reads a value, and tells whether an object in it has a member twice.
func twice(d *json.Decoder) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	found := false
	switch token {
	case json.Delim('{'):
		names := map[string]bool{}
		for d.More() {
			token, _ := d.Token()
			name, _ := token.(string)
			found = found || names[name]
			names[name] = true
			found = twice(d) || found
		}
		_, _ = d.Token()
	case json.Delim('['):
		for d.More() {
			found = twice(d) || found
		}
		_, _ = d.Token()
	}
	return found
}
