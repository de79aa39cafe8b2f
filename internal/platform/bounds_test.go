// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a platform says, what is kept of it is JSON, and in bounds.
func TestBoundedResponses(t *testing.T) {
	for _, c := range []struct{ reason, said, want string }{ // want: the beginning; "": as it was
		{"nothing", "", ""},
		{"JSON", `{"error":"No"}`, ""},
		{"HTML", "<html>", `"\u003chtml\u003e"`},
		{"JSON that is long", `{"error":"` + strings.Repeat("x", 1<<20) + `"}`, `"{\"error\":\"xxx`},
		{"HTML that is long", "<html>" + strings.Repeat("é", 1<<20), `"\u003chtml\u003eéé`},
		{"what JSON escapes", strings.Repeat("\x01", 1<<20), `"\u0001`},
		{"no text", strings.Repeat("\xff", 1<<20), `"`},
	} {
		got := string(Failure{PlatformResponse: json.RawMessage(c.said)}.Bounded().PlatformResponse)
		if c.want == "" && got != c.said || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %.80s", c.reason, got)
		}
		if len(got) > maxResponse || got != "" && !json.Valid([]byte(got)) {
			t.Errorf("%s: %d bytes: %.80s", c.reason, len(got), got)
		}
	}
}

// So is every other text of a failure and of a receipt, one that is added tomorrow, too.
func TestBoundedTexts(t *testing.T) {
	for _, long := range []string{"é", `"`, "\x01", "\u2028", "\xff", "<"} {
		var f Failure
		var r Receipt
		fill(reflect.ValueOf(&f).Elem(), strings.Repeat(long, 1<<16))
		fill(reflect.ValueOf(&r).Elem(), strings.Repeat(long, 1<<16))
		for _, v := range []any{f.Bounded(), r.Bounded()} {
			var text bytes.Buffer
			encoder := json.NewEncoder(&text)
			encoder.SetEscapeHTML(false) // as the API does
			if err := encoder.Encode(v); err != nil || text.Len() > MaxOutcome || !utf8.Valid(text.Bytes()) {
				t.Errorf("%T of %q: %d bytes, %v", v, long, text.Len(), err)
			}
		}
	}
	short := Failure{Code: "c", Message: "m", Rule: "r", Remediation: "x"}
	if got := short.Bounded(); !reflect.DeepEqual(got, short) {
		t.Errorf("short texts: %+v", got)
	}
}

// fill sets all texts in v, and a hundred items of each list.
func fill(v reflect.Value, text string) {
	switch {
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		v.SetBytes([]byte(text))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 100, 100))
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	}
}

// TestBoundedConnections: what an account is found by is whole, or there is no account.
func TestBoundedConnections(t *testing.T) {
	for n, taken := range map[int]bool{0: true, 2048: true, 2049: false} {
		c, err := Connection{PlatformAccountID: strings.Repeat("x", n), DisplayName: strings.Repeat("y", 1<<20)}.Bounded()
		if (err == nil) != taken || taken && (len(c.PlatformAccountID) != n || len(c.DisplayName) > 1<<10) {
			t.Errorf("an id of %d bytes: %d and %d bytes, %v", n, len(c.PlatformAccountID), len(c.DisplayName), err)
		}
	}
}
