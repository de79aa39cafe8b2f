// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"sync"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
)

// TestNoLoginForAPost: servers let an account begin 300 sessions a day. So one is begun when an account is connected,
// is kept for every post, and is refreshed as itself: a text is one request, and nobody signs in for it.
func TestNoLoginForAPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var asked []string
	w, c := behind(t, w, w.connect(t), func(r *http.Request) fault {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, path.Base(r.URL.Path))
		return noFault
	})
	const posts = 5
	var want []string
	for i := range posts {
		w.publishWith(t, c, fmt.Sprint("Post ", i))
		want = append(want, "com.atproto.repo.putRecord")
	}
	r, err := w.Refresher.Refresh(t.Context(), w.to(), c.secrets)
	if err != nil {
		t.Fatal(err)
	}
	c = c.with(platform.SecretAccessToken, r.Secrets[platform.SecretAccessToken])
	want = append(want, "com.atproto.server.refreshSession")
	w.publishWith(t, c, "Refreshed")
	want = append(want, "com.atproto.repo.putRecord")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(asked, want) {
		t.Errorf("the server of %s was asked for\n%q, want\n%q", c.secrets[bluesky.FieldPDSURL], asked, want)
	}
}
