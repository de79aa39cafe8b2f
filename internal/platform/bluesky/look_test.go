// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// TestLook: what a server has is found, and nothing is sent to it.
func TestLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := platform.Content{Text: "Hello", FirstComment: "Comment"}
	p := w.publication(w.connect(t), content)
	look := func(p platform.Publication) platform.Outcome {
		t.Helper()
		o, err := w.Looker.Look(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o, ok := look(p).(platform.NotTaken); !ok {
		t.Errorf("before it is sent: %+v", o)
	}
	if n := len(w.posts(t)); n > 0 {
		t.Fatalf("there are %d posts", n)
	}
	sent := published(t, w.send(t, p))
	if found := published(t, look(p)); found.URI != sent.URI || found.CID != sent.CID ||
		found.FirstCommentURI != sent.FirstCommentURI || found.FirstCommentCID != sent.FirstCommentCID {
		t.Errorf("found %+v, and %+v was sent", found, sent)
	}
	other := p
	other.Content.Text = "A post whose key is the same by chance"
	if o, ok := look(other).(platform.NotTaken); !ok {
		t.Errorf("another post: %+v", o)
	}
	alone := w.publication(p.Credentials.(*credentials), platform.Content{Text: "Alone"})
	published(t, w.send(t, alone))
	alone.Content.FirstComment = "It did not get there"
	if r := published(t, look(alone)); len(r.Warnings) != 1 || r.FirstCommentURI != "" {
		t.Errorf("without its comment: %+v", r)
	}
	if n := len(w.posts(t)); n != 3 {
		t.Errorf("there are %d records", n)
	}
	gone := standIn(t, nil)
	gone.Close()
	w.Platform = newPlatform(t, w.server, gone.URL)
	p.Credentials = p.Credentials.(*credentials).with("pdsUrl", gone.URL)
	if o := look(p); !isUnknown(o) {
		t.Errorf("while the server is away: %+v", o)
	}
}
