// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// docs/http-api.md names the rules that clients of any endpoint have to know.
func TestPageNamesTheRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range []*problem.Problem{errBodyMismatch, errRunning, errPayloadTooLarge} {
		if !strings.Contains(string(page), "`"+named.Rule+"`") {
			t.Errorf("the rule %s is not on the page", named.Rule)
		}
	}
}

// TestBusyIsTheCallersOwnDoing: an organization that keeps itself waiting is not told that the storage is away.
func TestBusyIsTheCallersOwnDoing(t *testing.T) {
	ps := problems{explain: func(error) *problem.Problem { return nil }}
	for err, want := range map[error]int{
		fmt.Errorf("claim: %w", store.ErrBusy):        http.StatusTooManyRequests,
		fmt.Errorf("claim: %w", store.ErrUnavailable): http.StatusServiceUnavailable,
	} {
		got := ps.of(err)
		if got.status() != want || got.RetryAfter == 0 || got.final() {
			t.Errorf("%v: %d, Retry-After %v, final: %v; want %d, some, and not", err, got.status(), got.RetryAfter, got.final(), want)
		}
	}
}
