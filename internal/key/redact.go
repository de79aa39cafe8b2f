// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Pattern is the regular expression that finds keys of the default word in text. The gitleaks rule in docs/ uses it.
const Pattern = `\blmp_(?:live|test)_[0-9A-Za-z]{38}\b`

// Redact removes the given key from text, in clear and as programs write bytes: in the base64 that a Secret's data is
// written in, in hexadecimal, and as lists of numbers. It is for text that comes from elsewhere and may quote what it
// was given, such as an admission webhook's refusal: printed with %v, a Secret's data are decimal numbers. The base64
// is matched with its padding, which may be written otherwise, or without.
func Redact(text, key string) string {
	if key == "" {
		return text
	}
	const hidden = "[redacted]"
	var pairs []string
	for _, form := range formsOf([]byte(key)) {
		pairs = append(pairs, form, hidden)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// formsOf are the ways in which programs write bytes. Of two that begin alike, the longer one comes first.
func formsOf(b []byte) []string {
	forms := []string{
		string(b), base64.StdEncoding.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b),
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), fmt.Sprintf("% x", b), fmt.Sprintf("% X", b),
	}
	for _, form := range []string{"%d", "%#x", "%#X", "%#o", "%o"} {
		numbers := make([]string, len(b))
		for i, c := range b {
			numbers[i] = fmt.Sprintf(form, c)
		}
		for _, between := range []string{" ", ", ", ",", "\n", ":"} {
			forms = append(forms, strings.Join(numbers, between))
		}
	}
	return forms
}
