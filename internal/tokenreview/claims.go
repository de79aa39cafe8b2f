// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tokenreview

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Audience is what tokens are for that prove who asks a process of this project. It is apart from the apiserver's own
// audience, so that a token that was shown here opens nothing in the cluster.
const Audience = "letmepost"

// maxToken is more than a ServiceAccount's token is long, which names its pod, node and Secret beside the account.
const maxToken = 8 << 10

// usernamePrefix is what the usernames of ServiceAccounts begin with: system:serviceaccount:NAMESPACE:NAME.
const usernamePrefix = "system:serviceaccount:"

// claims are what a token says of itself. Nobody has proven them: they serve to refuse without asking.
type claims struct {
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expires  int64    `json:"exp"` // Unix seconds
}

// audience is one text or a list of them (RFC 7519, section 4.1.3).
type audience []string

// UnmarshalJSON takes both.
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// plausible reads a JSON Web Token without looking at its signature. It says false for what the apiserver could never
// take for a ServiceAccount's token of this audience at now: noise then costs nobody a request. The algorithm and the
// issuer are not looked at: which of them it trusts, the apiserver knows. A token without an expiry counts as expired:
// those that Kubernetes keeps in Secrets have none, and no audience either.
func plausible(token, of string, now time.Time) bool {
	if len(token) > maxToken {
		return false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] == "" {
		return false
	}
	var c claims
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return false
	}
	return strings.HasPrefix(c.Subject, usernamePrefix) && slices.Contains(c.Audience, of) &&
		now.Before(time.Unix(c.Expires, 0))
}

// namespaceOf is the namespace of a ServiceAccount; false: the username is not one's.
func namespaceOf(username string) (string, bool) {
	rest, ok := strings.CutPrefix(username, usernamePrefix)
	namespace, name, named := strings.Cut(rest, ":")
	return namespace, ok && named && namespace != "" && name != ""
}
