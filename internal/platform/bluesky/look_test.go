// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func (w *world) look(t *testing.T, p platform.Publication) platform.Outcome {
	t.Helper()
	o, err := w.Looker.Look(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestLook: what a server has is found, and nothing is sent to it.
func TestLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := platform.Content{Text: "Hello", FirstComment: "Comment"}
	p := w.publication(w.connect(t), content)
	if o, ok := w.look(t, p).(platform.NotTaken); !ok {
		t.Errorf("before it is sent: %+v", o)
	}
	if n := len(w.posts(t)); n > 0 {
		t.Fatalf("there are %d posts", n)
	}
	sent := published(t, w.send(t, p))
	if found := published(t, w.look(t, p)); found.URI != sent.URI || found.CID != sent.CID ||
		found.FirstCommentURI != sent.FirstCommentURI || found.FirstCommentCID != sent.FirstCommentCID {
		t.Errorf("found %+v, and %+v was sent", found, sent)
	}
	other := p
	other.Content.Text = "A post whose key is the same by chance"
	if o, ok := w.look(t, other).(platform.NotTaken); !ok {
		t.Errorf("another post: %+v", o)
	}
	alone := w.publication(p.Credentials.(*credentials), platform.Content{Text: "Alone"})
	published(t, w.send(t, alone))
	alone.Content.FirstComment = "It did not get there"
	if r := published(t, w.look(t, alone)); len(r.Warnings) != 1 || r.FirstCommentURI != "" {
		t.Errorf("without its comment: %+v", r)
	}
	if n := len(w.posts(t)); n != 3 {
		t.Errorf("there are %d records", n)
	}
	gone := standIn(t, nil)
	gone.Close()
	w.Platform = newPlatform(t, w.server, gone.URL)
	p.Credentials = p.Credentials.(*credentials).with("pdsUrl", gone.URL)
	if o := w.look(t, p); !isUnknown(o) {
		t.Errorf("while the server is away: %+v", o)
	}
}

// TestLookAtEveryKey: the first key of these has a word in it that servers dislike, so what they name is at the second.
// The ids were found among some ten million.
func TestLookAtEveryKey(t *testing.T) {
	t.Parallel()
	for id, second := range map[string]struct {
		key     string
		comment bool // it is the first comment's
	}{
		"post-9849049": {key: "3kvl7snaggfrc"},
		"post-6661207": {key: "3kmax5tnlgh3r", comment: true},
	} {
		w := newWorld(t)
		p := w.publication(w.connect(t), platform.Content{Text: "Hello", FirstComment: "Comment"})
		p.PostID = id
		sent := published(t, w.send(t, p))
		at := map[bool]string{false: sent.URI, true: sent.FirstCommentURI}[second.comment]
		if !strings.HasSuffix(at, "/"+second.key) {
			t.Fatalf("%s is at %s, and the first key was to be disliked", id, at)
		}
		if diff := cmp.Diff(sent, published(t, w.look(t, p))); diff != "" {
			t.Errorf("%s (-sent +found):\n%s", id, diff)
		}
		// There is nothing at the first key, and nobody says what is at the second.
		spoiled, c := behind(t, w, w.connect(t), func(r *http.Request) fault {
			if r.URL.Query().Get("rkey") == second.key {
				return faultError
			}
			return noFault
		})
		p.Credentials = c
		o := spoiled.look(t, p)
		if !second.comment {
			if !isUnknown(o) {
				t.Errorf("%s, where it can't be found out: %+v", id, o)
			}
			continue
		}
		r := published(t, o)
		if r.URI != sent.URI || r.FirstCommentURI != "" || len(r.Warnings) != 1 ||
			r.Warnings[0].Code != "bluesky.first_comment" || !strings.Contains(r.Warnings[0].Message, "not known") {
			t.Errorf("%s, where its comment can't be found out: %+v", id, r)
		}
	}
}

// TestLookPastADeletedPost: two posts have the same key by chance, and the one that had it is gone. The other one is
// still where it is: it is found, and is not sent once more.
func TestLookPastADeletedPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.publication(w.connect(t), platform.Content{Text: "Gone"})
	stays := gone
	stays.Content.Text = "Stays"
	at := published(t, w.send(t, gone)).URI
	sent := published(t, w.send(t, stays))
	if err := w.account.Call(t.Context(), "com.atproto.repo.deleteRecord", map[string]any{
		"repo": w.account.DID, "collection": "app.bsky.feed.post", "rkey": at[strings.LastIndex(at, "/")+1:],
	}, nil); err != nil {
		t.Fatal(err)
	}
	asked, err := w.Asker.Ask(t.Context(), stays, nil)
	if err != nil {
		t.Fatal(err)
	}
	for by, o := range map[string]platform.Outcome{"looked": w.look(t, stays), "asked": asked} {
		if diff := cmp.Diff(sent, published(t, o)); diff != "" {
			t.Errorf("%s (-sent +found):\n%s", by, diff)
		}
	}
	w.only(t)
}
