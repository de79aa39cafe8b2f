// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	played "github.com/letmepost/letmepost-operator/test/linkedin"
)

// TestLostAnswer: the post went out, and its answer was lost. It is sent again, the very same, and adopted. That takes
// the same uploads: whether LinkedIn would know it by others of the same images is not documented.
func TestLostAnswer(t *testing.T) {
	w := newWorld(t)
	w.server.Fail(played.Fault{On: "/rest/posts", Written: true})
	p := publication(platform.Content{Text: "hello (again)", Media: images("a", "b"), FirstComment: "first"})
	lost := as[platform.OutcomeUnknown](t, w.send(t, p))

	r := as[platform.Published](t, w.ask(t, p, lost.Token)).Receipt
	if post := w.only(t); r.URI != post.URN {
		t.Errorf("the receipt is %+v, and the post %+v", r, post)
	}
	if len(r.Warnings) != 1 || r.Warnings[0].Code != "linkedin.adopted" {
		t.Errorf("the warnings are %+v", r.Warnings)
	}
	if len(w.server.Comments()) != 1 {
		t.Errorf("the comments are %+v", w.server.Comments())
	}
	uploads := slices.DeleteFunc(w.server.Requests(), func(r string) bool { return !strings.HasPrefix(r, "PUT ") })
	if len(uploads) != 2 {
		t.Errorf("the images were uploaded again: %v", uploads)
	}
}

// TestKilledWhileAnswered: the process died after the post went out. What it had uploaded was remembered in time, so
// that the second look sends the very same.
func TestKilledWhileAnswered(t *testing.T) {
	w := newWorld(t)
	p := publication(platform.Content{Text: "hello (again)", Media: images("a", "b")})
	var token []byte
	p.Remember = func(_ context.Context, given []byte) error {
		if posts := w.server.Posts(); len(posts) != 0 {
			t.Errorf("remembered after the post was sent: %+v", posts)
		}
		token = given
		return nil
	}
	as[platform.Published](t, w.send(t, p)) // and nobody lives to hear of it
	uploads := func() int {
		return len(slices.DeleteFunc(w.server.Requests(), func(r string) bool { return !strings.HasPrefix(r, "PUT ") }))
	}
	if n := uploads(); n != 2 {
		t.Fatalf("%d uploads", n)
	}
	r := as[platform.Published](t, w.ask(t, p, token)).Receipt
	if post := w.only(t); r.URI != post.URN || uploads() != 2 {
		t.Errorf("the receipt is %+v, the post %+v, after %d uploads", r, post, uploads())
	}
}

// TestNotRemembered: what could not be remembered is not sent.
func TestNotRemembered(t *testing.T) {
	w := newWorld(t)
	p := publication(platform.Content{Text: "hello", Media: images("a")})
	p.Remember = func(context.Context, []byte) error { return errors.New("the database is away") }
	if _, err := w.Publisher.Publish(t.Context(), p); err == nil || len(w.server.Posts()) != 0 {
		t.Errorf("%v, and it was sent: %+v", err, w.server.Posts())
	}
}

// TestLostRequest: nothing went out, so it goes out now.
func TestLostRequest(t *testing.T) {
	w := newWorld(t)
	w.server.Fail(played.Fault{On: "/rest/posts"})
	p := publication(platform.Content{Text: "hello", FirstComment: "first"})
	lost := as[platform.OutcomeUnknown](t, w.send(t, p))
	r := as[platform.Published](t, w.ask(t, p, lost.Token)).Receipt
	if w.only(t); len(r.Warnings) != 0 || len(w.server.Comments()) != 1 {
		t.Errorf("%+v, comments %+v", r, w.server.Comments())
	}
}

// TestDuplicateOfNothing: LinkedIn says that it has the post, and not which one it is. Nothing is commented on then.
func TestDuplicateOfNothing(t *testing.T) {
	w := newWorld(t)
	w.server.Fail(
		played.Fault{On: "/rest/posts"}, // and it says so: the comment is this look's to make
		played.Fault{On: "/rest/posts", Status: 422, Body: `{"message":"Content is a duplicate","code":"DUPLICATE_POST"}`},
	)
	p := publication(platform.Content{Text: "hello", FirstComment: "first"})
	lost := as[platform.OutcomeUnknown](t, w.send(t, p))
	r := as[platform.Published](t, w.ask(t, p, lost.Token)).Receipt
	for _, request := range w.server.Requests() {
		if strings.Contains(request, "socialActions") {
			t.Errorf("asked: %s", request)
		}
	}
	if r.URI != "" || r.FirstCommentURI != "" || len(r.Warnings) != 2 {
		t.Errorf("%+v", r)
	}
}

// TestUnknownWhileUploading: the process died, so that a second look uploads the images once more. What is wrong with
// them says nothing of the post, which is there.
func TestUnknownWhileUploading(t *testing.T) {
	for _, on := range []string{"/rest/images?action", "/upload"} {
		w := newWorld(t)
		p := publication(platform.Content{Text: "hello", Media: images("a")})
		as[platform.Published](t, w.send(t, p))
		w.server.Fail(played.Fault{On: on, Status: 400, Body: `{"message":"no"}`})
		if still := as[platform.OutcomeUnknown](t, w.ask(t, p, nil)); still.Failure.Code != platform.CodeRejected {
			t.Errorf("%s: %+v", on, still.Failure)
		}
		w.only(t)
	}
}

// TestKilled: the process died, and nobody knows how far it was. The comment is not made twice.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	p := publication(platform.Content{Text: "hello", FirstComment: "first"})
	as[platform.Published](t, w.send(t, p))
	r := as[platform.Published](t, w.ask(t, p, nil)).Receipt
	if w.only(t); len(w.server.Comments()) != 1 || r.FirstCommentURI != "" || len(r.Warnings) != 2 {
		t.Errorf("%+v, comments %+v", r, w.server.Comments())
	}
}

// TestStillUnknown: whatever keeps the second look from an answer, the first attempt may have got there.
func TestStillUnknown(t *testing.T) {
	for status, code := range map[int]string{
		401: platform.CodeAuthFailed, 403: platform.CodeRejected, 426: platform.CodeUnavailable,
		429: platform.CodeRateLimited, 500: platform.CodeUnavailable, 0: platform.CodeUnavailable,
	} {
		w := newWorld(t)
		w.server.Fail(played.Fault{On: "/rest/posts", Written: true}, played.Fault{On: "/rest/posts", Status: status})
		p := publication(platform.Content{Text: "hello", Media: images("a")})
		lost := as[platform.OutcomeUnknown](t, w.send(t, p))
		still := as[platform.OutcomeUnknown](t, w.ask(t, p, lost.Token))
		if still.Failure.Code != code {
			t.Errorf("%d: %+v", status, still.Failure)
		}
		// A day's limit ends at midnight, UTC.
		if at := still.NotBefore; status == 429 && (at.IsZero() || !at.Equal(at.Truncate(24*time.Hour))) {
			t.Errorf("%d: not before %s", status, at)
		}
		as[platform.Published](t, w.ask(t, p, still.Token))
		w.only(t)
	}
	w := newWorld(t)
	w.server.Fail(played.Fault{On: "/rest/posts"}, played.Fault{On: "/rest/posts", Status: 422, Body: `{"code":"TOO_ODD"}`})
	p := publication(platform.Content{Text: "hello"})
	lost := as[platform.OutcomeUnknown](t, w.send(t, p))
	as[platform.Rejected](t, w.ask(t, p, lost.Token)) // it looked at the post: it does not have it
}

// TestSeededFaults: whatever goes wrong, in whatever order, there is one post in the end. There is at most one comment,
// unless the process dies in a second look: what that one has done is known to nobody.
func TestSeededFaults(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			chance := rand.New(rand.NewPCG(seed, 13))
			w := newWorld(t)
			p := publication(platform.Content{Text: fmt.Sprintf("seed #%d", seed), FirstComment: "first"})
			if seed%3 == 0 {
				p.Content.Media = images("a", "b")
			}
			most := 1 + w.endure(t, chance, p)
			post := w.only(t)
			if post.Text != p.Content.Text || len(post.Images) != len(p.Content.Media) {
				t.Errorf("the post is %+v", post)
			}
			if n := len(w.server.Comments()); n > most {
				t.Errorf("there are %d comments", n)
			}
		})
	}
}

// endure has a post sent until it is published, as package publish does it, while requests fail and the process dies.
// It returns how often that was in a second look.
func (w *world) endure(t *testing.T, chance *rand.Rand, p platform.Publication) (deaths int) {
	t.Helper()
	var asked bool
	var token []byte
	for try := range 20 {
		if try < 6 {
			f := played.Fault{
				On:     []string{"/rest/posts", "/rest/posts", "/rest/images", "/upload", "/comments"}[chance.IntN(5)],
				Status: []int{0, 0, 500, 503, 429, 426}[chance.IntN(6)],
			}
			f.Written = (f.Status == 0 || f.Status >= 500) && chance.IntN(2) == 0
			w.server.Fail(f)
		} else {
			w.server.Heal()
		}
		o, err := w.attempt(t, p, asked, token)
		if chance.IntN(4) == 0 && try < 6 { // the process dies before it can say what it has seen
			if asked {
				deaths++
			}
			asked = true
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		switch o := o.(type) {
		case platform.Published:
			return deaths
		case platform.OutcomeUnknown:
			asked, token = true, o.Token
		case platform.NotTaken:
			if asked {
				t.Fatalf("a second look has become %+v", o)
			}
		default:
			t.Fatalf("the outcome is %T: %+v", o, o)
		}
	}
	t.Fatal("it does not end")
	return deaths
}

func (w *world) attempt(
	t *testing.T, p platform.Publication, asked bool, token []byte,
) (platform.Outcome, error) {
	t.Helper()
	if asked {
		return w.Asker.Ask(t.Context(), p, token)
	}
	return w.Publisher.Publish(t.Context(), p)
}
