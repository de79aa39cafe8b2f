// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is how the body of a request is written: as it is, in UTF-8, and in JSON that can be read in one way
// only. It is one for all who read bodies, so that a client that one endpoint understands is understood by all.
package wire

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

var (
	errEncoded = &problem.Problem{
		Kind: problem.Unsupported, Code: problem.CodeValidationFailed, Rule: "body.content_encoding",
		Message:     "The request's body is compressed, or encoded in another way.",
		Remediation: "Send it as it is, without the header Content-Encoding.",
	}
	errCharset = problem.NewInvalid("body.content_type",
		"The request's body is declared to be in another charset than UTF-8.",
		"Write it in UTF-8, as JSON always is, and send the header `Content-Type: application/json`.")
)

// Encoding is what Accept-Encoding says in the answer to a body that CheckEncoding refuses (RFC 9110 section 12.5.3).
const Encoding = "identity"

// CheckEncoding refuses a body that is compressed. Nothing is decompressed: a kilobyte may become a gigabyte.
func CheckEncoding(h http.Header) error {
	for _, value := range h["Content-Encoding"] {
		if value != "" && !strings.EqualFold(value, Encoding) {
			return errEncoded
		}
	}
	return nil
}

// CheckCharset is given the parameters of a Content-Type, and refuses a body that they declare to be in another charset
// than UTF-8. Even what could be read is refused: it would be misread.
func CheckCharset(params map[string]string) error {
	// Without its hyphen, it is a name that only people and libraries have for it, and no other charset has.
	charset := params["charset"]
	if charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return errCharset
	}
	return nil
}

// byteOrderMark begins what some editors and libraries write. It is no part of JSON; a parser may ignore it (RFC 8259
// section 8.1).
const byteOrderMark = "\ufeff"

// WithoutMark is a body without its byte order mark.
func WithoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte(byteOrderMark)) }

// Decode reads one JSON value, in valid UTF-8, without members that are unknown or given twice. The error is that of
// the library, whose text is never passed on: it may quote the body.
//
// Unknown members are refused because a misspelt "scheduledAt" would otherwise publish at once. It is not encoding/json
// that reads the body because that one takes the last of two members, matches names whatever their case, and replaces
// broken UTF-8 by other text.
func Decode(text []byte, into any) error {
	return json.Unmarshal(text, into, json.RejectUnknownMembers(true))
}
