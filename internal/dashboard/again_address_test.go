// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"net/http/httptest"
	"testing"
)

// TestHereAgain: a page that loads itself again says so, however often it has, and is no use of its session.
func TestHereAgain(t *testing.T) {
	for path, want := range map[string]string{
		"/dashboard/keys/a%20b/secret":               "/dashboard/keys/a%20b/secret?again=1",
		"/dashboard/keys/a/secret?rotates=b":         "/dashboard/keys/a/secret?again=1&rotates=b",
		"/dashboard/keys/a/secret?again=1&rotates=b": "/dashboard/keys/a/secret?again=1&rotates=b",
	} {
		request := httptest.NewRequest("GET", path, nil)
		got := hereAgain(*request.URL)
		if got != want || !askedAgain(httptest.NewRequest("GET", got, nil)) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
