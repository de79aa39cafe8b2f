// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

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
