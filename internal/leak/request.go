// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/wire"
)

// Path is where keys are reported, of the API and of the gate.
const Path = "/v1/leaked"

// Received is the answer to every report, whatever was reported. A client learns nothing from it, and need not.
type Received struct {
	Status string `json:"status" enum:"received"`
}

// Answer is the one Received that there is, and Answered its JSON.
var Answer = Received{"received"}

// Answered is Answer as it is sent.
const Answered = `{"status":"received"}` + "\n"

// KeyReport is the JSON body of a report. The API's OpenAPI document has it; keyInJSON reads it.
type KeyReport struct {
	Key string `json:"key" doc:"The key that has leaked. What is no key is received as well."`
}

// maxBody is how long a report may be, in bytes. A key has some fifty characters.
const maxBody = 4 << 10

var (
	errBody = problem.NewInvalid("leaked",
		"A report is a key: as JSON, or as the token of a form (RFC 7009).",
		`Send {"key":"lmp_live_..."} with Content-Type: application/json, or token=lmp_live_... as a form.`)
	errTooLarge = &problem.Problem{
		Kind: problem.TooLarge, Code: problem.CodeValidationFailed, Rule: "leaked",
		Message: "A report is of one key.", Remediation: "Send a report for each key.",
	}
	// Unavailable is ErrUnavailable, for whoever reports.
	Unavailable = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable,
		Message:     "This server takes no reports at the moment: it has just started, or has as many as it holds.",
		Remediation: "Send the report again in a few seconds, to the same address. Another replica may take it at once.",
		RetryAfter:  answerWithin,
	}
)

// PerAddress is how many reports are taken from one address, be they of keys or not. Each process counts for itself,
// and apart from failed attempts to authenticate.
var PerAddress = rate.Rate{Requests: 60, Window: time.Minute}

// TooMany is for an address that reports more than that.
func TooMany(again time.Duration) *problem.Problem {
	return &problem.Problem{
		Kind: problem.RateLimited, Code: problem.CodeRateLimited, RetryAfter: again,
		Message:     "Too many reports from this address.",
		Remediation: "Wait the seconds of Retry-After. Whoever has many keys to end deletes their ApiKeys.",
	}
}

// KeyIn reads the key out of a request. The error is a *problem.Problem, and the same whatever the key is. w may be
// nil, as it may for http.MaxBytesReader. What it returns may be no key at all: Report sees to that.
func KeyIn(w http.ResponseWriter, r *http.Request) (string, error) {
	if err := wire.CheckEncoding(r.Header); err != nil {
		return "", err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return "", errTooLarge
	case err != nil:
		return "", errBody // it has gone, or the body has broken off
	}
	kind, err := kindOf(r.Header["Content-Type"])
	switch {
	case err != nil:
		return "", err
	case kind == "application/x-www-form-urlencoded":
		return keyInForm(string(body))
	}
	return keyInJSON(body)
}

// kindOf is what a report is declared to be. It need not be declared, and what is no form is taken for JSON: there is
// no session here that another site's page could use. But one that is declared in two ways, or in a way that can't be
// read, may be in any charset.
func kindOf(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if len(values) > 1 || err != nil {
		return "", errBody
	}
	return kind, wire.CheckCharset(params)
}

// keyInForm reads a form of RFC 7009, section 2.1; its token_type_hint is of no use here.
func keyInForm(body string) (string, error) {
	form, err := url.ParseQuery(body)
	if err != nil || len(form["token"]) != 1 {
		return "", errBody
	}
	return form["token"][0], nil
}

// keyInJSON reads a KeyReport, and tells a key that is missing from one that is empty: that one is received, as what
// is no key is.
func keyInJSON(body []byte) (string, error) {
	var b struct {
		Key *string `json:"key"`
	}
	if err := wire.Decode(wire.WithoutMark(body), &b); err != nil || b.Key == nil {
		return "", errBody
	}
	return *b.Key, nil
}
