// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import "strings"

// fieldsOfKeys are the fields of the form, by those of an ApiKey that the apiserver may complain of. The longest one
// that it names counts.
var fieldsOfKeys = map[string]string{
	"metadata.name":           "name",
	"spec.environment":        "environment",
	"spec.profileRef":         "profile",
	"spec.scopes":             "scope",
	"spec.claims":             "claims",
	"spec.secretName":         "secret",
	"spec.expiresAt":          "expiry",
	"spec.rateLimit":          "requests",
	"spec.rateLimit.requests": "requests",
	"spec.rateLimit.window":   "window",
}

// fieldOf is the field of a form that stands for a field of a resource, or for what that is within; "": none does.
func fieldOf(path string, fields map[string]string) (field string) {
	longest := 0
	for of, its := range fields {
		// The apiserver names what is within a field, too, such as spec.scopes[2]. Only a dot or a bracket begins that: any
		// other character makes it another field, with a longer name.
		rest, begins := strings.CutPrefix(path, of)
		if begins && len(of) > longest && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			field, longest = its, len(of)
		}
	}
	return field
}
