// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func TestCheckReturnTo(t *testing.T) {
	for _, tc := range []struct {
		reason, text string
		taken        bool
	}{
		{"an address", "https://app.example.com/accounts?tab=1", true},
		{"of a development server", "http://localhost:3000/", true},
		{"upper-case letters mean the same", "HTTPS://APP.EXAMPLE.COM", true},
		{"a path alone", "/accounts", false},
		{"a host of whatever scheme the page has", "//evil.example", false},
		{"a scheme alone", "https://", false},
		{"a port alone", "https://:8443/", false},
		{"a script", "javascript:alert(1)", false},
		{"an app", "myapp://done", false},
		{"a host that is a user", "https://bank.example@evil.example", false},
		{"not even a user", "https://@evil.example", false},
		{"a host that some browsers read as another", `https://bank.example\evil.example`, false},
		{"two lines", "https://app.example.com/\r\nSet-Cookie: a=b", false},
		{"no address", "hunter2 hunter2", false},
		{"an address with a mistake", "https://app.example.com/%zz?token=hunter2", false},
	} {
		u, err := platform.CheckReturnTo(tc.text)
		if taken := err == nil && u != nil; taken != tc.taken {
			t.Errorf("%s: %v, error %v", tc.reason, u, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats it: %v", tc.reason, err)
		}
	}
	if u, err := platform.CheckReturnTo(""); u != nil || err != nil {
		t.Errorf("none: %v, error %v", u, err)
	}
}
