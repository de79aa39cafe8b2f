// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// TestSlowDown: whatever is taken for "slow down" has a time to ask again, from either kind of server.
func TestSlowDown(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := &service{clock: clocktesting.NewFakePassiveClock(now)}
	for _, c := range []struct {
		reason string
		status int
		name   string
		after  string
		wait   time.Duration
	}{
		{"by the status alone", 429, "", "5", 5 * time.Second},
		{"by both", 429, "RateLimitExceeded", "5", 5 * time.Second},
		{"by the name alone", 400, "RateLimitExceeded", "5", 5 * time.Second},
		{"by the name, of an error of the server's own", 503, "RateLimitExceeded", "5", 5 * time.Second},
		{"without a time", 400, "RateLimitExceeded", "", time.Minute},
	} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{}}
		resp.Header.Set("Retry-After", c.after)
		body := fmt.Appendf(nil, `{"error":%q}`, c.name)
		for from, r := range map[string]*serverError{
			"an account's server": s.serverErrorOf(resp, body), "an authorization server": s.authServerErrorOf(resp, body),
		} {
			f := s.common(r)
			if f == nil || f.Code != platform.CodeRateLimited || !strings.HasSuffix(f.Message, fmt.Sprintf(" in %s.", c.wait)) {
				t.Errorf("%s, %s: %+v", from, c.reason, f)
			}
			if got := r.again.Sub(now); got != c.wait {
				t.Errorf("%s, %s: in %s, want %s", from, c.reason, got, c.wait)
			}
		}
	}
}

// TestAgainOfA429: it says when to ask again also where its name is another verdict.
func TestAgainOfA429(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := &service{clock: clocktesting.NewFakePassiveClock(now)}
	resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"5"}}}
	r := s.serverErrorOf(resp, []byte(`{"error":"NotEnoughResources"}`))
	if got := r.again.Sub(now); judge(r) != away || got != 5*time.Second {
		t.Errorf("verdict %d, in %s", judge(r), got)
	}
}

// opened counts those of a file that were opened and not closed.
type opened struct {
	io.Reader
	left *int
}

func (o opened) Close() error { *o.left--; return nil }

// TestFilesOfCallsThatAreNotMade: a call that comes to nothing before it is sent leaves no file open.
func TestFilesOfCallsThatAreNotMade(t *testing.T) {
	// Proofs are made by another kind of key, so that this one makes none.
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	for reason, c := range map[string]call{
		"without a proof":     {host: "http://127.0.0.1:1", key: key},
		"without an address":  {host: "http://a host"},
		"without either":      {host: "http://a host", key: key},
		"with a bad method":   {host: "http://127.0.0.1:1", method: "\x7f"},
		"to nobody's address": {host: ""},
	} {
		left := 0
		c.file = &file{size: 1, contentType: "image/png", open: func(context.Context) (io.ReadCloser, error) {
			left++
			return opened{strings.NewReader("a"), &left}, nil
		}}
		s := &service{xrpc: &http.Client{}}
		if err := s.once(t.Context(), c, nil); err == nil || left != 0 {
			t.Errorf("%s: %d are open, error %v", reason, left, err)
		}
	}
}
