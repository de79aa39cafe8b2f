// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

const sampleTimes = "Write times as RFC 3339 has them, such as 2026-05-08T12:00:00Z or 2026-05-08T14:00:00+02:00."

// badTime is what is wrong with a text that is no time, in a parameter or a body. Of what people send most often it
// says what to change. Nothing is guessed: in which zone somebody's noon is, they alone know.
func badTime(rule, text string) *problem.Problem {
	const longest = 64 // more than any time has
	at := rule
	switch {
	case len(text) > longest:
	case isTime(strings.Replace(text, " ", "+", 1)):
		return problem.NewInvalid(rule, at+" has a space where its offset begins: a + in a query means a space.",
			"Percent-encode the + as %2B, or send the time in UTC, such as 2026-05-08T12:00:00Z.")
	case isTime(strings.Replace(text, " ", "T", 1)), isTime(strings.ToUpper(text)):
		return problem.NewInvalid(rule, at+" is not written as RFC 3339 has it.",
			"Write a capital T between date and time, and a capital Z for UTC, such as 2026-05-08T12:00:00Z.")
	case isTime(text + "Z"), isTime(strings.Replace(text, " ", "T", 1) + "Z"), isTime(text + ":00Z"):
		return problem.NewInvalid(rule, at+" has no time zone.",
			"Add Z for UTC, or an offset, such as 2026-05-08T12:00:00Z or 2026-05-08T14:00:00+02:00.")
	case isTime(text + "T00:00:00Z"):
		return problem.NewInvalid(rule, at+" is a date without a time.",
			"Add the time at which its day begins for you, such as T00:00:00Z.")
	}
	return problem.NewInvalid(rule, at+" is not a time.", sampleTimes)
}

// isTime takes what the decoders take: nanoseconds are optional when they are parsed.
func isTime(text string) bool {
	_, err := time.Parse(time.RFC3339Nano, text)
	return err == nil
}
