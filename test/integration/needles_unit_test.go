// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestNeedles: a hunt that finds nothing proves something only if it would have found it.
func TestNeedles(t *testing.T) {
	const hidden = "lmp_live_0sJ4vQ2mBzX8cT1kRfN6yWdL3hGpEuA92Kx0aP"
	const other = "lmp_test_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzZZZZZZ"
	n := newNeedles(other, hidden)
	asJSON := func(v any) string {
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	for _, tc := range []struct {
		reason, text string
		want         bool
	}{
		{"as it is", hidden, true},
		{"without its prefix", hidden[len("lmp_live_"):], true},
		{"without its checksum", hidden[:len(hidden)-6], true},
		{"its first 36 characters", hidden[:36], true},
		{"in a URL", "/v1/whoami?key=" + url.QueryEscape("Bearer "+hidden), true},
		{"as a Go value", fmt.Sprintf("%#v", []string{hidden}), true},
		{"as Go bytes", fmt.Sprintf("%d", []byte(hidden)), true},
		{"as JSON numbers", asJSON(numbers(hidden)), true},
		{"hexadecimal", hex.EncodeToString([]byte(hidden)), true},
		{"base64", base64.StdEncoding.EncodeToString([]byte(hidden)), true},
		{"base64 behind one byte", base64.StdEncoding.EncodeToString([]byte("=" + hidden)), true},
		{"base64 behind two bytes", base64.RawURLEncoding.EncodeToString([]byte("k=" + hidden)), true},
		{"base64 of a header", base64.StdEncoding.EncodeToString([]byte("Authorization: Bearer " + hidden + "\r\n")), true},
		{"a Secret's JSON", asJSON(map[string][]byte{"LMP_API_KEY": []byte(hidden)}), true},
		{"its hint", "lmp_live_…0aP", false},
		{"its hash", key.DigestOf(hidden).BoundTo(key.OwnerNamespace("acme")).String(), false},
		{"its digest, of which one half is secret", fmt.Sprintf("%x", sha256.Sum256([]byte(hidden))), true},
		{"another key", "lmp_live_0sJ4vQ2mBzX8cT1kRfN6yWdXXXXXXXXX000000", false},
		{"nothing", "", false},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			for _, around := range []string{"", "x", "0123456789 \x00\xff"} {
				text := bytes.Join([][]byte{[]byte(around), []byte(tc.text), []byte(around)}, nil)
				if found := n.in(text); (len(found) > 0) != tc.want {
					t.Errorf("in %q: found %v, want it found: %v", text, found, tc.want)
				}
			}
		})
	}
}

// TestNeedlesOfAccounts: app passwords are shorter than keys, and tokens begin all alike.
func TestNeedlesOfAccounts(t *testing.T) {
	const password = "k3fz-9qxd-m2ht-w7vb"
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"at+jwt","alg":"ES256K"}`))
	token := header + ".eyJzdWIiOiJkaWQ6cGxjOmh1bnRlZCJ9.qP1vXk7Yt0mC3sJdR8nW2bZxL5eHgUaF6iOoT4rEwQyBvNcMzKjShDfGlAp9u0Vx"
	n := newNeedles(password, token)
	for reason, tc := range map[string]struct {
		text string
		want bool
	}{
		"a password":                    {`{"password":"` + password + `"}`, true},
		"a password, cut":               {password[1 : len(password)-1], true},
		"a password, hexadecimal":       {hex.EncodeToString([]byte(password)), true},
		"a password, base64":            {base64.StdEncoding.EncodeToString([]byte("alice.test:" + password)), true},
		"a token":                       {"Bearer " + token, true},
		"a token without its header":    {token[len(header):], true},
		"a token, base64":               {base64.StdEncoding.EncodeToString([]byte(token)), true},
		"another token of its kind":     {header + ".eyJzdWIiOiJkaWQ6cGxjOm90aGVyIn0." + token[len(token)-20:], false},
		"another password":              {"k3fz-9qxd-m2ht-xxxx", false},
		"the account, and nothing else": {"did:plc:hunted", false},
	} {
		if found := n.in([]byte("x" + tc.text + "y")); (len(found) > 0) != tc.want {
			t.Errorf("%s: found %v, want it found: %v", reason, found, tc.want)
		}
	}
}

func numbers(text string) []int {
	var all []int
	for _, b := range []byte(text) {
		all = append(all, int(b))
	}
	return all
}
