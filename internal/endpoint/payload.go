// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/wire"
)

// maxPayload is the size in bytes of the largest JSON body that is read. It is held in memory, hashed and decoded: what
// could be larger is a file, and has a way of its own.
const maxPayload = 1 << 20

var (
	errPayloadTooLarge = &problem.Problem{
		Kind: problem.TooLarge, Code: problem.CodeValidationFailed, Rule: "body.size",
		Message:     "The request's body is larger than 1 MiB.",
		Remediation: "Send files with POST /v1/media, and refer to them by mediaId.",
	}
	// A client that stops in the middle is told so, while its connection may still take an answer.
	errPayloadUnread = problem.NewInvalid("body", "The request's body is incomplete: it ended early, or took too long.",
		"Send all of it, with the right Content-Length.")
	errBadJSON = problem.NewInvalid("body.json", "The request's body is not one JSON value in valid UTF-8.",
		"Send a JSON object.")
	errNotJSON = problem.NewInvalid("body.content_type", "The request's body is not declared to be JSON.",
		"Send it with the header `Content-Type: application/json`.")
)

// readPayload reads a request's body, if it is JSON and not too large. No body is an empty one. It reads all of it
// before anything is decoded, because the claim of an Idempotency-Key needs its hash. reserve takes room for so many
// bytes that are going to be held, and its problem ends the reading.
func readPayload(r *http.Request, reserve func(int64) error) ([]byte, error) {
	if err := wire.CheckEncoding(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > maxPayload {
		return nil, errPayloadTooLarge // before a client that waits for 100 Continue sends it all
	}
	body, err := readWithin(r.Body, r.ContentLength, reserve)
	switch {
	case errors.As(err, new(*problem.Problem)):
		return nil, err
	case err != nil:
		return nil, errPayloadUnread
	case len(body) > 0:
		if err := checkDeclared(r.Header["Content-Type"]); err != nil {
			return nil, err
		}
	}
	return wire.WithoutMark(body), nil
}

// readWithin reads all of a body, which is said to have so many bytes (-1: not known), into memory that is reserved as
// it comes: whoever only says that much will follow takes nobody's room.
func readWithin(body io.Reader, length int64, reserve func(int64) error) ([]byte, error) {
	// A byte more than there are, so that the end is found without room for more.
	size := int64(writeBytes / perPayload)
	if length >= 0 {
		size = min(size, length+1)
	}
	text := make([]byte, 0, size)
	for {
		if len(text) == cap(text) {
			// Doubled, so that a body of a megabyte is copied a few times and not with each read.
			more := int64(min(2*cap(text), maxPayload+1))
			if err := reserve((more - int64(cap(text))) * perPayload); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, more), text...)
		}
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case len(text) > maxPayload:
			return nil, errPayloadTooLarge
		case errors.Is(err, io.EOF):
			return text, nil
		case err != nil:
			return nil, err
		}
	}
}

// checkDeclared wants a Content-Type to be that of JSON, which is UTF-8 (RFC 8259 section 8.1). A body without a
// Content-Type is refused too: a browser's form of another site can be sent without a question only with the types that
// HTML has (Fetch, "CORS-safelisted"), and JSON is none of them.
func checkDeclared(values []string) error {
	if len(values) != 1 {
		return errNotJSON
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err != nil || mediaType != "application/json" {
		return errNotJSON
	}
	return wire.CheckCharset(params)
}

// decodeJSON reads a body into a struct: as package wire does, and without members that are null. The error is a
// problem whose rule names the member, in the way of "targets.0.text".
func decodeJSON(payload []byte, into any) error {
	if len(payload) == 0 {
		payload = []byte("{}") // which members are missing is for the handler to say; some bodies need none
	}
	err := wire.Decode(payload, into)
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	var unparsed *time.ParseError
	switch {
	case err == nil:
		return checkDecoded(payload, into)
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return problem.NewInvalid(RuleAt(syntactic.JSONPointer),
			"The request's body has a member twice.", "Send each member once.")
	case errors.As(err, &syntactic): // before the semantic ones, which may hold one
		return errBadJSON
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		return problem.NewInvalid(RuleAt(semantic.JSONPointer),
			"The request's body has a member that this endpoint does not know.",
			"GET /v1/openapi.json lists the members of each request.")
	case errors.As(err, &semantic) && semantic.GoType == reflect.TypeFor[time.Time]():
		text := "" // of what is no text
		if errors.As(err, &unparsed) {
			text = unparsed.Value
		}
		return badTime(RuleAt(semantic.JSONPointer), text)
	case errors.As(err, &semantic):
		return problem.NewInvalid(RuleAt(semantic.JSONPointer),
			"A member of the request's body is of the wrong type or form.",
			"GET /v1/openapi.json has the type of each member.")
	default:
		return errBadJSON
	}
}

// canonical is a body in the one form that its value has (RFC 8785): libraries sort members and escape characters in
// other ways each time, and whoever sends the same value again means the same. What is no JSON stays as it is. Numbers
// are those of JavaScript, and no body here that is taken has any.
func canonical(payload []byte) []byte {
	value := jsontext.Value(bytes.Clone(payload))
	if err := value.Canonicalize(); err != nil {
		return payload
	}
	return value
}

// isNone tells whether a body in its canonical form says nothing: none, or what HTTP libraries send in its place. It is
// one value to every handler, be it read as an object or not read at all, and so one request.
func isNone(value []byte) bool {
	switch string(value) {
	case "", "{}", "null":
		return true
	}
	return false
}

// checkDecoded checks what is JSON of the right types, and is not taken all the same.
func checkDecoded(payload []byte, into any) error {
	if err := checkNulls(payload, into); err != nil {
		return err
	}
	return checkTexts(len(payload), into)
}

// nullTaker is a body in which null is clear at some place, by what else it says.
type nullTaker interface{ TakesNull(rule string) bool }

// checkNulls refuses null wherever a value belongs. Taken for what is left out, it would publish at once what was to
// wait, or reach more than one profile: null is what a date that can't be read becomes in JSON, and a variable that
// nobody has set. null as the whole body is none, since HTTP libraries send it unasked. payload was decoded into into.
func checkNulls(payload []byte, into any) error {
	if !bytes.Contains(payload, []byte("null")) {
		return nil // nearly all
	}
	taker, _ := into.(nullTaker)
	for d := jsontext.NewDecoder(bytes.NewReader(payload)); ; {
		switch token, err := d.ReadToken(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errBadJSON // never: it has been decoded
		case token.Kind() != 'n' || d.StackDepth() == 0:
			continue
		}
		if rule := RuleAt(d.StackPointer()); taker == nil || !taker.TakesNull(rule) {
			return problem.NewInvalid(rule, "A value of the request's body is null.",
				"Send the value that is meant. If there is none, leave out the member.")
		}
	}
}

// maxRule is the length in bytes above which what a caller made up is no rule: it would be logged, and sent back. It is
// in the log, and part of a URL in the answer.
const maxRule = 100

// RuleAt writes a place in a body as a rule: "targets.0.text", or "body" for the whole. The names of unknown members
// are the caller's own words: what does not look like a name ends the rule, because rules are logged. So does a name
// with dots in it, which would read as several.
func RuleAt(place jsontext.Pointer) string {
	var rule []string
	length := 0
	for name := range place.Tokens() {
		length += len(name) + 1 // and the dot
		if length > maxRule || !sayable(name) {
			break
		}
		rule = append(rule, name)
	}
	if len(rule) == 0 {
		return "body"
	}
	return strings.Join(rule, ".")
}

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
		its := most
		if bounded, ok := v.Interface().(MaxBytes); ok {
			its = bounded.MaxBytes(entry.Key().String())
		}
		if err := checkText(entry.Value(), its, at.AppendToken(entry.Key().String())); err != nil {
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
