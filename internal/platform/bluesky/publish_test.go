// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func TestText(t *testing.T) {
	w := newWorld(t)
	r := w.publish(t, platform.Content{Text: "Hello, world", FirstComment: "The first comment, with a.com"})
	if posts := w.posts(t); len(posts) != 2 {
		t.Fatalf("there are %d posts", len(posts))
	}
	t.Logf("%+v %+v", r, w.posts(t))
}
