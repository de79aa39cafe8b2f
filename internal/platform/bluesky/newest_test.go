// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"context"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// TestNewestServer: the release that most servers of Bluesky's run takes the same, and images of 2,000,000 bytes, which
// the one that all other tests know does not.
func TestNewestServer(t *testing.T) {
	t.Parallel()
	s, err := pds.Start(context.WithoutCancel(t.Context()), pds.Options{Newest: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	a, err := s.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{newPlatform(t, s), s, a}

	root := w.publish(t, platform.Content{Text: "Hello, #world", FirstComment: "Comment"})
	posts := w.posts(t)
	if len(posts) != 2 || posts[1].Text != "Hello, #world" || len(posts[1].Facets) != 1 || len(root.Warnings) > 0 {
		t.Fatalf("%+v, receipt %+v", posts, root)
	}
	if r := posts[0].Reply; r == nil || r.Root.URI != root.URI || r.Parent.CID != root.CID {
		t.Errorf("the comment is %+v", posts[0])
	}
	w.publish(t, platform.Content{Text: "Answer", Options: platform.Options{
		Platform: "bluesky", ReplyToURI: root.FirstCommentURI, ReplyToCID: root.FirstCommentCID,
	}})
	if r := w.posts(t)[0].Reply; r == nil || r.Root.URI != root.URI || r.Parent.URI != root.FirstCommentURI {
		t.Errorf("the answer is in the thread %+v", r)
	}

	photo := jpegOf(t, noise(1400, 1000), 95)
	if len(photo) < 1_000_001 || len(photo) > 2_000_000 {
		t.Fatalf("the image has %d bytes", len(photo))
	}
	r := w.publish(t, platform.Content{Media: []platform.Media{medium("image/jpeg", photo)}})
	if got := w.posts(t)[0].Embed; got == nil || got.Images[0].Image.Size != len(photo) || len(r.Warnings) > 0 {
		t.Errorf("an image that this server takes is %+v, warnings %+v", got, r.Warnings)
	}
	tooLarge := jpegOf(t, noise(1900, 1400), 95)
	if len(tooLarge) < 2_000_001 {
		t.Fatalf("the image has %d bytes", len(tooLarge))
	}
	r = w.publish(t, platform.Content{Media: []platform.Media{medium("image/jpeg", tooLarge)}})
	if size := w.posts(t)[0].Embed.Images[0].Image.Size; size > 2_000_000 || size <= 1_000_000 || len(r.Warnings) != 1 {
		t.Errorf("it has %d bytes, want those of the limit; warnings %+v", size, r.Warnings)
	}

	c := w.connect(t).with(platform.SecretAccessToken, a.ExpiredToken(accessScope, "at+jwt"))
	w.publishWith(t, c, "After the session")
	if c.renewed != 1 {
		t.Errorf("renewed %d times", c.renewed)
	}

	byOAuth, connection := w.connectByOAuth(t)
	if connection.PlatformAccountID != a.DID {
		t.Errorf("connected %+v", connection)
	}
	w.publishWith(t, byOAuth, "By OAuth")
}
