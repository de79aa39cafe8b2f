// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

// maxString is how long a text of a body may be, in bytes of UTF-8, unless its field has a tag maxBytes that says
// otherwise. Bytes are what is stored, copied and sent; what people call a character may have any number of them. An id
// may be as long as a body: one that is too long to be one is answered as any other that never was.
const maxString = 4 << 10

// maxValues bounds the values of a body. "{}," is three bytes, and a hundred of memory once it is decoded.
const maxValues = 10_000

var errTooManyValues = problem.NewInvalid("body.values", "The request's body has more than 10000 values.",
	"Make several requests of it.")

// checkValues counts the values of a body about, by the commas between them: it is called before anything is decoded.
// Values that stand in one another need no comma, and are bounded by the decoder.
func checkValues(payload []byte) error {
	if len(payload) <= maxValues {
		return nil // none has more values than bytes
	}
	n, text := 0, false
	for i := 0; i < len(payload); i++ {
		switch c := payload[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case !text && c == ',':
			n++
		}
	}
	if n > maxValues {
		return errTooManyValues
	}
	return nil
}

// checkTexts looks for a text that is too long in what a body of so many bytes was decoded into. A body that is shorter
// than the bound holds no text that is longer.
func checkTexts(size int, into any) error {
	if size <= maxString {
		return nil // nearly all
	}
	return checkText(reflect.ValueOf(into), maxString, "")
}

// checkText looks at v and all that is in it. most is how long it may be; at is where it stands. It goes over what was
// decoded, and so sees lengths without escapes, as they are stored.
func checkText(v reflect.Value, most int, at jsontext.Pointer) error {
	switch v.Kind() {
	case reflect.String:
		if v.Len() > most {
			return problem.NewInvalid(RuleAt(at),
				fmt.Sprintf("A text of the request's body is longer than %d bytes of UTF-8.", most), "Send less.")
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return checkText(v.Elem(), most, at)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := checkText(v.Index(i), most, at.AppendToken(strconv.Itoa(i))); err != nil {
				return err
			}
		}
	case reflect.Map:
		return checkEntries(v, most, at)
	case reflect.Struct:
		return checkFields(v, at)
	}
	return nil
}

// MaxBytes is a body that has no fields, and says by itself how long the text of a name may be.
type MaxBytes interface{ MaxBytes(name string) int }

// checkEntries looks at the names of a map, too: they are the caller's.
func checkEntries(v reflect.Value, most int, at jsontext.Pointer) error {
	for entry := v.MapRange(); entry.Next(); {
		if err := checkText(entry.Key(), most, at); err != nil {
			return err
		}
		if bounded, ok := v.Interface().(MaxBytes); ok {
			most = bounded.MaxBytes(entry.Key().String())
		}
		if err := checkText(entry.Value(), most, at.AppendToken(entry.Key().String())); err != nil {
			return err
		}
	}
	return nil
}

// checkFields goes by the names in JSON, since a rule names a member as its caller wrote it.
func checkFields(v reflect.Value, at jsontext.Pointer) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" { // of a time.Time
			continue
		}
		if err := checkText(v.Field(i), maxBytesOf(field), at.AppendToken(name)); err != nil {
			return err
		}
	}
	return nil
}

// maxBytesOf is how long the text of a field may be.
func maxBytesOf(field reflect.StructField) int {
	if most, err := strconv.Atoi(field.Tag.Get("maxBytes")); err == nil {
		return most
	}
	return maxString
}
