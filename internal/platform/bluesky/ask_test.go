// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	stdimage "image"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func (w *world) ask(t *testing.T, p platform.Publication) platform.Outcome {
	t.Helper()
	o, err := w.Asker.Ask(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestRefusedBeforeItIsSent: what a post needs is refused, and a first attempt knows by it that the post is not there.
// A second look does not: the first record may come yet, and whoever sent the post anew would have it twice.
func TestRefusedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := w.publish(t, platform.Content{Text: "Root"})
	broken := append(pngOf(t, stdimage.NewGray(stdimage.Rect(0, 0, 10, 10)))[:40], make([]byte, 3_000_000)...)
	through := proxy(t, w.server.URL, nil).Config.Handler
	front := standIn(t, func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "uploadBlob") {
			says(http.StatusBadRequest, "InvalidMimeType")(rw, r)
			return
		}
		through.ServeHTTP(rw, r)
	})
	w.Platform = newPlatform(t, w.server, front.URL)
	by := w.connect(t).with("pdsUrl", front.URL)
	for what, tc := range map[string]struct {
		content platform.Content
		rule    string
		isSeen  bool // by the server
	}{
		"what it answers": {answerTo(root.URI[:len(root.URI)-13]+"3aaaaaaaaaa22", root.CID), "bluesky.reply.not_found", false},
		"its image":       {platform.Content{Media: []platform.Media{medium("image/png", broken)}}, "bluesky.image", false},
		"an upload":       {platform.Content{Media: []platform.Media{image(t, 8, 8)}}, "bluesky.rejected", false},
		"the post itself": {platform.Content{Text: strings.Repeat("x", 301)}, "bluesky.rejected", true},
	} {
		p := w.publication(by, tc.content)
		first, err := w.Publisher.Publish(t.Context(), p)
		if o, no := first.(platform.Rejected); err != nil || !no || o.Failure.Rule != tc.rule {
			t.Errorf("%s: the first attempt is %T %+v, error %v", what, first, first, err)
		}
		var why platform.Failure
		again := w.ask(t, p)
		switch o := again.(type) {
		case platform.OutcomeUnknown:
			why = o.Failure
		case platform.Rejected:
			why = o.Failure
		}
		if _, no := again.(platform.Rejected); no != tc.isSeen || why.Rule != tc.rule || why.Code != platform.CodeRejected {
			t.Errorf("%s: the second look is %T %+v", what, again, again)
		}
	}
	w.only(t)
}

// TestSecondLookSlowsDown: a server is asked again when it wants to be, whatever it was that it did not answer.
func TestSecondLookSlowsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := platform.Content{
		Text: "Hello @" + w.account.Handle, FirstComment: "Comment", Media: []platform.Media{image(t, 8, 8)},
	}
	for _, method := range []string{"getRecord", "resolveHandle", "uploadBlob", "putRecord"} {
		spoiled, c := behind(t, w, w.connect(t), func(r *http.Request) fault {
			if strings.HasSuffix(r.URL.Path, method) {
				return faultLimit
			}
			return noFault
		})
		p := w.publication(c, content)
		isLate(t, method, spoiled.ask(t, p))
		if method != "putRecord" {
			continue
		}
		// The post is there now, and its comment is not.
		alone := p
		alone.Credentials, alone.Content.FirstComment = w.connect(t), ""
		published(t, w.send(t, alone))
		isLate(t, "the comment's", spoiled.ask(t, p))
	}
	w.only(t)
}

// isLate checks that nothing is known, and that the server is asked again in five minutes, as faultLimit has it.
func isLate(t *testing.T, what string, got platform.Outcome) {
	t.Helper()
	o, unknown := got.(platform.OutcomeUnknown)
	wait := time.Until(o.NotBefore)
	if !unknown || o.Failure.Code != platform.CodeRateLimited || wait < 4*time.Minute || wait > 6*time.Minute {
		t.Errorf("%s: %T in %v: %+v", what, got, wait, got)
	}
}
