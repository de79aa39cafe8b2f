// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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

// TestHashesOf: no body is one value, however it is sent, and what earlier versions have claimed is found.
func TestHashesOf(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/v1/posts/a/retry", nil)
	none, _ := hashesOf(r, nil)
	for payload, was := range map[string]string{
		"": "", "{}": "{}", "null": "null", " {\n}\n": "{}", "null\n": "null", // canonical forms, which told them apart
	} {
		body, former := hashesOf(r, []byte(payload))
		if body != none || former != hashOf(r, []byte(was)) {
			t.Errorf("%q: it is none: %t; by what it was, it is found: %t", payload, body == none, former == hashOf(r, []byte(was)))
		}
	}
	for _, payload := range []string{`{"a": null}`, "[]", "0", `""`, "false", "no JSON", " ", `{"":{}}`} {
		body, former := hashesOf(r, []byte(payload))
		if body == none || body != hashOf(r, canonical([]byte(payload))) || former != hashOf(r, []byte(payload)) {
			t.Errorf("%q: the body's hash is %s, and was %s", payload, body, former)
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
