// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// How much of what a platform says is kept and shown, in bytes of each text. The server that says it may be one that an
// account's owner runs, and each attempt keeps what it said. What is ours to say, or the name of a post, is far
// shorter.
const (
	maxResponse = 4 << 10 // of a Failure's PlatformResponse, as JSON
	maxSaid     = 1 << 10 // of any other text
	maxWarnings = 4       // of a Receipt
)

// MaxOutcome is how many bytes of JSON a Failure or a Receipt has at most that is Bounded: a character of a text takes
// two if it is a quote. Each of the two has four texts, beside the warnings. A request that publishes at once reserves
// so much memory for each target before anything is sent: were it too little, answers would take what nobody counts.
const MaxOutcome = maxResponse + (4+2*maxWarnings)*2*maxSaid + 1<<10

// Bounded is f with what a platform said in bounds, and as JSON: what is longer, or is none, becomes a JSON string of
// its beginning.
func (f Failure) Bounded() Failure {
	cutAll(&f.Code, &f.Message, &f.Rule, &f.Remediation)
	f.PlatformResponse = bounded(f.PlatformResponse)
	return f
}

// Bounded is r with each text in bounds. A name of a post that is longer is of no use whole either.
func (r Receipt) Bounded() Receipt {
	cutAll(&r.URI, &r.CID, &r.FirstCommentURI, &r.FirstCommentCID)
	r.Warnings = boundedWarnings(r.Warnings)
	return r
}

// boundedWarnings are the first of all, with each text in bounds. If there are more, the last that is kept says how
// many: a post may have one for every name that it mentions, and its author is not to think that these are all.
func boundedWarnings(all []Warning) []Warning {
	// A copy, since the texts are cut where they stand, and all is the caller's.
	kept := slices.Clone(all[:min(maxWarnings, len(all))])
	for i := range kept {
		cutAll(&kept[i].Code, &kept[i].Message)
	}
	if more := len(all) - len(kept); more > 0 {
		note := fmt.Sprintf(" (Warnings left out after this one: %d.)", more)
		// There is a last one: some are left out only when maxWarnings of them were kept.
		last := &kept[len(kept)-1].Message
		*last = cutTo(*last, maxSaid-len(note)) + note
	}
	return kept
}

func bounded(response json.RawMessage) json.RawMessage {
	if len(response) == 0 || len(response) <= maxResponse && json.Valid(response) {
		return response
	}
	text := string(response)
	for most := maxResponse; ; most /= 2 { // escapes make some characters six times as long
		cut := cutTo(text, most)
		quoted, err := json.Marshal(cut)
		if err == nil && len(quoted) <= maxResponse { // there is no error: every string has a JSON
			return quoted
		}
	}
}

// cutAll also takes out control characters, which JSON writes six times as long, and what is no UTF-8.
func cutAll(texts ...*string) {
	for _, text := range texts {
		*text = cutTo(strings.ToValidUTF8(strings.Map(printed, *text), ""), maxSaid)
	}
}

// printed is r; -1 for a control character but the end of a line.
func printed(r rune) rune {
	if r != '\n' && (unicode.IsControl(r) || r == '\u2028' || r == '\u2029') {
		return -1
	}
	return r
}

// cutTo cuts a text to most bytes, between two characters, and says so by an ellipsis.
func cutTo(text string, most int) string {
	const ellipsis = "…"
	if len(text) <= most {
		return text
	}
	end := max(0, most-len(ellipsis))
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

// Bounded is c with what the platform calls the account in bounds. What it is to be found by is not cut: half of that
// would be another account's. It is as long as a DID may be, at most.
func (c Connection) Bounded() (Connection, error) {
	if len(c.PlatformAccountID) > maxAccountID {
		return c, &Failure{
			Code: CodeRejected, Message: "The platform's id of the account is too long to be one.",
			Remediation: "Look whether the account is what you think it is.",
		}
	}
	cutAll(&c.DisplayName)
	c.Warnings = boundedWarnings(c.Warnings)
	return c, nil
}

// maxAccountID is how many bytes a platform's id of an account has at most, as a DID has.
const maxAccountID = 2048

// IsBlank tells whether nobody would see anything of a text: it has white space, control and format characters, and
// what Unicode says is to be ignored in display, such as U+200B, and nothing else. A platform takes such a post, or
// refuses it; nobody means one.
func IsBlank(text string) bool {
	return strings.IndexFunc(text, isSeen) < 0
}

func isSeen(c rune) bool {
	switch {
	// Before the categories below: these are of Cf as well.
	case unicode.Is(unicode.Prepended_Concatenation_Mark, c): // format characters that are drawn, around digits
		return true
	case unicode.IsSpace(c), unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Zs),
		unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return false
	}
	return true
}
