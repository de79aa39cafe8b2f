// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// TestWarningsLeftOut: whoever reads warnings knows how many there were.
func TestWarningsLeftOut(t *testing.T) {
	const long = maxSaid // of a message that has no room for more
	for _, c := range []struct {
		n, length, kept int
		note            string // behind the last one
	}{
		{0, 3, 0, ""},
		{1, 3, 1, ""},
		{maxWarnings, 3, maxWarnings, ""},
		{maxWarnings, long, maxWarnings, ""},
		{maxWarnings + 1, 3, maxWarnings, " (Warnings left out after this one: 1.)"},
		{maxWarnings + 1, long, maxWarnings, " (Warnings left out after this one: 1.)"},
		{maxWarnings + 40, 3 * long, maxWarnings, " (Warnings left out after this one: 40.)"},
	} {
		var all, want []Warning
		for i := range c.n {
			all = append(all, Warning{Code: "c", Message: strings.Repeat(fmt.Sprint(i%10), c.length)})
		}
		for i := range c.kept {
			note := ""
			if i == c.kept-1 {
				note = c.note
			}
			want = append(want, Warning{Code: "c", Message: cutTo(all[i].Message, maxSaid-len(note)) + note})
		}
		connection, err := Connection{Warnings: all}.Bounded()
		if err != nil {
			t.Fatal(err)
		}
		once := Receipt{Warnings: all}.Bounded()
		for what, got := range map[string][]Warning{
			"receipt": once.Warnings, "receipt, twice": once.Bounded().Warnings, "connection": connection.Warnings,
		} {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%d of %d bytes, %s: %+v", c.n, c.length, what, got)
			}
		}
	}
}
