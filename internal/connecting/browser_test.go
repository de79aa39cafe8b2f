// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connecting

import (
	"net/url"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestReturnToOnOneMachine: a server on a loopback address sends browsers to whatever runs beside it; no other does.
func TestReturnToOnOneMachine(t *testing.T) {
	for public, local := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://localhost:8080": true, "http://[::1]:8080": true, "http://10.0.0.1:8080": false,
	} {
		at, err := url.Parse(public)
		check(t, err)
		for returnTo, reached := range map[string]bool{
			"http://localhost:3000/done": local, "http://127.0.0.2": local, "http://[::1]:1": local,
			"http://localhost.example": false, "http://10.0.0.2": false, public + "/done": true,
		} {
			u, err := url.Parse(returnTo)
			check(t, err)
			if got := New(Options{Public: at}).mayReturnTo(u); got != reached {
				t.Errorf("from %s to %s: %t", public, returnTo, got)
			}
		}
	}
}

// TestBrowserWithoutAnAddress: no browser is sent away that could not come back.
func TestBrowserWithoutAnAddress(t *testing.T) {
	_, err := New(Options{}).request(new(caller.Caller), bluesky.Platform, Wish{Method: platform.ByOAuth})
	if err != ErrNoAddress { //nolint:errorlint // it is returned bare
		t.Errorf("%v", err)
	}
}
