// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestDocumentedCookies: the cookies that the OpenAPI document names are those that the dashboard sets.
func TestDocumentedCookies(t *testing.T) {
	text, err := httpapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			SecuritySchemes map[string]struct{ Type, In, Name string }
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, e := range []key.Environment{key.Live, key.Test} {
		got := document.Components.SecuritySchemes[string(e)+"Session"]
		if got.Type != "apiKey" || got.In != "cookie" || got.Name != dashboard.CookieName(e) {
			t.Errorf("%s: %+v, want the cookie %s", e, got, dashboard.CookieName(e))
		}
	}
}
