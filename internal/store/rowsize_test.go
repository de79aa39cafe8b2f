// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// short are texts of a row that are made here, or are one of a list: ids, names, hashes. All others somebody wrote, or
// a platform said.
var short = []string{
	"ID", "BatchID", "ProfileID", "MadeBy", "AccountID", "Account.ID", "Account.Platform", "Platform", "Status",
	"Options.Platform", "Media.Kind", "Media.MediaID", "Receipt.Warnings.Code",
	"Failure.Code", "Failure.Rule", "Reconnect.Code", "Reconnect.Rule",
}

// TestEveryTextOfARowCounts: a page ends early by the size of its rows, so a text that their size leaves out could make
// a page of any length.
func TestEveryTextOfARowCounts(t *testing.T) {
	const long = 10_000
	counts := func(t *testing.T, row reflect.Value, size func() int) {
		texts := 0
		empty := size()
		fillEach(row, "", strings.Repeat("x", long), func(name string) {
			texts++
			if n := size(); (n >= empty+long) == slices.Contains(short, name) {
				t.Errorf("%s: with %d bytes of it, the row has %d, and %d without", name, long, n, empty)
			}
		})
		if texts < 5 {
			t.Errorf("only %d texts", texts)
		}
	}
	p := Post{
		Account: &AccountRef{}, Media: make([]MediaRef, 1), Failure: &platform.Failure{},
		Options: &platform.Options{Langs: make([]string, 1)}, Receipt: platform.Receipt{Warnings: make([]platform.Warning, 1)},
	}
	t.Run("posts", func(t *testing.T) {
		counts(t, reflect.ValueOf(&p).Elem(), func() int { return sizeOfPost(p) })
	})
	a := Account{Reconnect: &platform.Failure{}}
	t.Run("accounts", func(t *testing.T) {
		counts(t, reflect.ValueOf(&a).Elem(), func() int { return sizeOfAccount(a) })
	})
	t.Run("media", func(t *testing.T) { // has none
		for _, field := range reflect.VisibleFields(reflect.TypeFor[Media]()) {
			if field.Type.Kind() == reflect.String && !slices.Contains(append(short, "ContentType", "SHA256"), field.Name) {
				t.Errorf("%s counts for nothing", field.Name)
			}
		}
	})
}

// fillEach gives each text in v a value, one after the other, and takes it away again.
func fillEach(v reflect.Value, name, text string, then func(name string)) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		then(name)
		v.SetString("")
	case reflect.Pointer:
		fillEach(v.Elem(), name, text, then)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(text))
			then(name)
			v.SetBytes(nil)
			return
		}
		for i := range v.Len() {
			fillEach(v.Index(i), name, text, then)
		}
	case reflect.Struct:
		for i, field := range reflect.VisibleFields(v.Type()) {
			if field.IsExported() {
				fillEach(v.Field(i), strings.TrimPrefix(name+"."+field.Name, "."), text, then)
			}
		}
	}
}
