// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package key

import (
	"encoding/base64"
	"strings"
)

// Pattern is the regular expression that finds keys of the default word in text. The gitleaks rule in docs/ uses it.
const Pattern = `\blmp_(?:live|test)_[0-9A-Za-z]{38}\b`

// Redact removes the given key from text, in clear and in the base64 that a Secret's data is written in. It is for text
// that comes from elsewhere and may quote what it was given, such as an admission webhook's refusal. The base64 is
// matched with its padding, which may be written otherwise, or without.
func Redact(text, key string) string {
	if key == "" {
		return text
	}
	const hidden = "[redacted]"
	return strings.NewReplacer(
		key, hidden,
		base64.StdEncoding.EncodeToString([]byte(key)), hidden,
		base64.RawStdEncoding.EncodeToString([]byte(key)), hidden,
	).Replace(text)
}
