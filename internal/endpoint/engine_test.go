// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"unsafe"

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

// Each request has one, and Go takes care of up to 512 bytes at less cost than of more: with 688, a GET /v1/whoami took
// a twelfth longer here. What few requests need stands behind a pointer.
func TestARequestIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Request{}); size > 512 {
		t.Errorf("a Request takes %d bytes", size)
	}
}
