// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"regexp"
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
	// Of a text with two mistakes one is told, and the sample shows how all of it is written.
	switch {
	case len(text) > longest:
	case strings.Contains(text, " ") && isTime(strings.Replace(text, " ", "+", 1)):
		return problem.NewInvalid(rule, at+" has a space where its offset begins: a + in a query means a space.",
			"Percent-encode the + as %2B, or send the time in UTC, such as 2026-05-08T12:00:00Z.")
	case isTime(strings.Replace(text, " ", "T", 1)), isTime(strings.ToUpper(text)):
		return problem.NewInvalid(rule, at+" is not written as RFC 3339 has it.",
			"Write a capital T between date and time, and a capital Z for UTC, such as 2026-05-08T12:00:00Z.")
	case isTime(withoutSeconds.ReplaceAllString(text, "$1:00$2")), isTime(text + ":00Z"):
		return problem.NewInvalid(rule, at+" has no seconds.",
			"Write them, and a time zone, such as 2026-05-08T12:00:00Z or 2026-05-08T14:00:00+02:00.")
	case isTime(text + "Z"), isTime(strings.Replace(text, " ", "T", 1) + "Z"):
		return problem.NewInvalid(rule, at+" has no time zone.",
			"Add Z for UTC, or an offset, such as 2026-05-08T12:00:00Z or 2026-05-08T14:00:00+02:00.")
	case isTime(text + "T00:00:00Z"):
		return problem.NewInvalid(rule, at+" is a date without a time.",
			"Add the time at which its day begins for you, such as T00:00:00Z.")
	}
	return problem.NewInvalid(rule, at+" is not a time.", sampleTimes)
}

// withoutSeconds is a time that ends with its minutes, and its zone: ISO 8601 has such times, and RFC 3339 has none.
var withoutSeconds = regexp.MustCompile(`^(.*T\d\d:\d\d)(Z|[+-]\d\d:\d\d)$`)

// rfc3339 is what a time is written like. time.Parse takes more: a comma for the point, an hour of one digit, an offset
// of a day.
var rfc3339 = regexp.MustCompile(
	`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// parseTime reads a time of a parameter. It takes what a body may have, and nothing else: of two ways to send one time,
// one would be wrong otherwise, and nobody could say why.
func parseTime(text string) (t time.Time, ok bool) {
	if !rfc3339.MatchString(text) {
		return t, false
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, err == nil
}

func isTime(text string) bool {
	_, ok := parseTime(text)
	return ok
}
