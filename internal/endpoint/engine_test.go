// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
)

// A public route has a context too, which nobody's key ends.
func TestContextWithoutAKey(t *testing.T) {
	r := &Request{route: &Route{Access: admission.Anyone}, http: httptest.NewRequest(http.MethodGet, "/", nil)}
	if ctx := r.Context(); ctx != r.HTTP().Context() {
		t.Errorf("%v", ctx)
	}
	if err := authn.Commit(r.Context(), func(context.Context) error { return nil }); err == nil {
		t.Error("a write was committed for nobody")
	}
}
