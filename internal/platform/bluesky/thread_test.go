// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// newWorldElsewhere is a world on another server, in the same network of identities.
func newWorldElsewhere(t *testing.T, urls ...string) *world {
	t.Helper()
	s, err := elsewhere()
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.NewAccount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &world{newPlatform(t, s, urls...), s, a}
}

func answerTo(uri, cid string) platform.Content {
	return platform.Content{
		Text: "Answer", Options: platform.Options{Platform: "bluesky", ReplyToURI: uri, ReplyToCID: cid},
	}
}

// TestThreadOfAnotherServer: the first post of a thread is found where it is, of which the account's own server knows
// nothing.
func TestThreadOfAnotherServer(t *testing.T) {
	t.Parallel()
	there := newWorldElsewhere(t)
	thread := there.publish(t, platform.Content{Text: "Root", FirstComment: "Comment"})
	here := newWorld(t, there.server.URL)
	for _, parent := range []struct{ name, uri, cid string }{
		{"the first post", thread.URI, thread.CID},
		{"a post within", thread.FirstCommentURI, thread.FirstCommentCID},
	} {
		here.publish(t, answerTo(parent.uri, parent.cid))
		got := here.posts(t)[0].Reply
		if got == nil || got.Root.URI != thread.URI || got.Root.CID != thread.CID ||
			got.Parent.URI != parent.uri || got.Parent.CID != parent.cid {
			t.Errorf("%s: the answer is in %+v", parent.name, got)
		}
	}
	// And the other way round: an answer from there, in a thread that goes on here.
	mine := here.posts(t)[0].Reply
	records, err := here.account.Posts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there.Platform = newWorldElsewhere(t, here.server.URL).Platform
	there.publish(t, answerTo(records[0].URI, records[0].CID))
	if got := there.posts(t)[0].Reply; got == nil || got.Root != mine.Root || got.Parent.URI != records[0].URI {
		t.Errorf("an answer to the answer is in %+v, and that in %+v", got, mine)
	}
}

// TestAnswersToWhatCantBeRead: whatever is wrong with a post that is to be answered, with its author or with their
// server, is not the account's fault: it is never to be connected again for that.
func TestAnswersToWhatCantBeRead(t *testing.T) {
	t.Parallel()
	const notFound, unread = "bluesky.reply.not_found", "bluesky.reply.unavailable"
	takeDown := func(w *world) error { return w.account.TakeDown(t.Context()) }
	deactivate := func(w *world) error {
		return w.account.Call(t.Context(), "com.atproto.server.deactivateAccount", map[string]any{}, nil)
	}
	nothing := func(*world) error { return nil }
	gone := standIn(t, nil)
	gone.Close()
	for name, c := range map[string]struct {
		of      *world
		spoil   func(*world) error
		allowed bool   // its server may be asked
		moved   string // where it is by its document; "": where it is
		rule    string
	}{
		"taken down":                    {of: newWorld(t), spoil: takeDown, rule: notFound},
		"deactivated":                   {of: newWorld(t), spoil: deactivate, rule: notFound},
		"taken down on another server":  {of: newWorldElsewhere(t), spoil: takeDown, allowed: true, rule: notFound},
		"deactivated on another server": {of: newWorldElsewhere(t), spoil: deactivate, allowed: true, rule: notFound},
		"on a server within":            {of: newWorldElsewhere(t), spoil: nothing, rule: notFound},
		"on a server that does not run": {of: newWorldElsewhere(t), spoil: nothing, moved: gone.URL, rule: unread},
	} {
		parent := c.of.publish(t, platform.Content{Text: "Parent"})
		if err := c.spoil(c.of); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t)
		by := w.connect(t)
		told := *w.server
		if c.moved != "" {
			told.PLCURL = movedTo(t, c.of, c.moved)
		}
		may := []string{gone.URL}
		if c.allowed {
			may = append(may, c.of.server.URL)
		}
		w.Platform = newPlatform(t, &told, may...)
		o := w.send(t, w.publication(by, answerTo(parent.URI, parent.CID)))
		var why platform.Failure
		switch o := o.(type) {
		case platform.Rejected:
			why = o.Failure
		case platform.NotTaken:
			why = o.Failure
		}
		if why.Rule != c.rule || why.Code == platform.CodeAuthFailed || by.renewed > 0 {
			t.Errorf("%s: %T %+v; renewed %d times", name, o, why, by.renewed)
		}
		if _, later := o.(platform.NotTaken); later != (c.rule == unread) {
			t.Errorf("%s: %+v", name, o)
		}
		if n := len(w.posts(t)); n > 0 {
			t.Errorf("%s: there are %d posts", name, n)
		}
	}
}

// TestRefusalsAboutOthers: what the account's server says of others, who are answered or mentioned, is not said of the
// account.
func TestRefusalsAboutOthers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"AccountNotFound", "AccountTakedown", "AccountDeactivated", "RepoNotFound", "RepoTakendown", "RepoSuspended",
		"RepoDeactivated", "AuthMissing", "InvalidToken", "HandleNotFound", "Anything",
	} {
		w := newWorld(t)
		through := proxy(t, w.server.URL, nil).Config.Handler
		front := standIn(t, func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "repo.getRecord") || strings.HasSuffix(r.URL.Path, "resolveHandle") {
				says(http.StatusBadRequest, name)(rw, r)
				return
			}
			through.ServeHTTP(rw, r)
		})
		by := w.connect(t).with("pdsUrl", front.URL)
		told := *w.server
		told.PLCURL = movedTo(t, w, front.URL)
		w.Platform = newPlatform(t, &told, front.URL)
		parent := answerTo("at://"+w.account.DID+"/app.bsky.feed.post/3aaaaaaaaaa22", "bafyreib")
		if o, ok := w.send(t, w.publication(by, parent)).(platform.Rejected); !ok || o.Failure.Rule != "bluesky.reply.not_found" {
			t.Errorf("%s, of a post that is answered: %+v", name, o)
		}
		r := published(t, w.send(t, w.publication(by, platform.Content{Text: "Hello @somebody.test"})))
		if len(r.Warnings) != 1 || r.Warnings[0].Code != "bluesky.mention" || by.renewed > 0 {
			t.Errorf("%s, of somebody who is mentioned: %+v; renewed %d times", name, r, by.renewed)
		}
	}
}

// TestAccountOfAnotherServer is connected where its identity says that it is, and nowhere else: also after it has
// moved, while somebody still names the server that it was on.
func TestAccountOfAnotherServer(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t), newWorldElsewhere(t)
	there.Platform = newPlatform(t, there.server, here.server.URL)
	if c, f := there.complete(t, there.account.DID, there.account.AppPassword, "pdsUrl", ""); f != nil ||
		c.Secrets["pdsUrl"] != there.server.URL {
		t.Errorf("where it is: at %s, %+v", c.Secrets["pdsUrl"], f)
	}
	if c, f := there.complete(t, there.account.DID, there.account.AppPassword, "pdsUrl", here.server.URL); f == nil ||
		f.Rule != "bluesky.credentials" {
		t.Errorf("where it was: %+v, %+v", c, f)
	}
	// And one that is connected goes on at its new server, once its session has ended at the old one.
	c := there.connect(t).with("pdsUrl", here.server.URL)
	there.publishWith(t, c, "Moved")
	if c.renewed != 1 || c.secrets["pdsUrl"] != there.server.URL {
		t.Errorf("renewed %d times, at %s", c.renewed, c.secrets["pdsUrl"])
	}
}
