// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"context"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestEnvoyBounds: what is too large is refused unread, and nobody is told what else there is.
func TestEnvoyBounds(t *testing.T) {
	f := newWorld(t)
	large := request(nil, map[string]string{"authorization": strings.Repeat("x", 256<<10)})
	_, err := authv3.NewAuthorizationClient(f.conn).Check(t.Context(), large)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a question of 256 KiB: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := reflection.NewServerReflectionClient(f.conn).ServerReflectionInfo(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("reflection: %v", err)
	}
}

// FuzzCheck: no message opens what its question is not for.
func FuzzCheck(f *testing.F) {
	for _, extensions := range []map[string]string{{"scopes": "posts:read", "organization": "acme"}, {"environment": "test"}} {
		wire, err := proto.Marshal(request(extensions, map[string]string{"authorization": "Bearer x"}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	_, goodKey := authntest.Minted(f, authntest.Format(f), key.Live)
	checks := newFixture(f).Envoy // of a gate that knows no key
	f.Fuzz(func(t *testing.T, wire []byte) {
		var r authv3.CheckRequest
		if proto.Unmarshal(wire, &r) != nil {
			return
		}
		if h := r.GetAttributes().GetRequest().GetHttp(); h != nil && h.Headers == nil {
			h.Headers = map[string]string{"authorization": "Bearer " + goodKey}
		}
		answer, err := checks.Check(t.Context(), &r)
		if err != nil || answer.GetOkResponse() != nil || answer.GetStatus().GetCode() == int32(codes.OK) {
			t.Errorf("%v: %v %v", &r, answer, err)
		}
	})
}
