// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

// Under the race detector sync.Pool forgets on purpose, so `make test` runs these once more without it.

package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What a request takes in memory did not grow by the registry.
func TestWhoamiAllocations(t *testing.T) {
	k, plaintext := live(t)
	f := newFixture(t, []any{k}, func(c *parts) { c.NewRequestID = func() string { return "id" } })
	r := httptest.NewRequest(http.MethodGet, "/v1/whoami", nil)
	r.Header.Set("Authorization", "Bearer "+plaintext)
	w := nowhere{http.Header{}}
	const most = 2 // the request, the values of its header
	if n := testing.AllocsPerRun(500, func() { clear(w.header); f.ServeHTTP(w, r) }); n > most {
		t.Errorf("%v allocations, want at most %d", n, most)
	}
}
