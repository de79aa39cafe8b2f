// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// kind is what a write is about.
type kind string

const (
	immediate kind = "published at once"
	soon      kind = "published in some seconds"
	later     kind = "far in the future"
	edit      kind = "changes one of the future"
	cancel    kind = "cancels one of the future"
	upload    kind = "a media file"
)

// entry is a write, and what the client was told of it.
type entry struct {
	kind
	call
	accounts []string // of posts, in the order of the targets
	text     string   // that the post is to have
	post     string   // the post that is changed or canceled
	sum      string   // of the file
	answer   answer   // zero: nobody knows yet
	again    bool     // it was sent again, as the first time had no answer
}

// ledger is what a client has written, and must find again.
type ledger struct {
	desk

	mu      sync.Mutex
	changed *sync.Cond
	dice    *rand.Rand
	entries []*entry
	waiting []string // posts of the far future that nothing was done to yet
	answers int
	cut     int // calls that had no answer
	away    int // calls that were answered 503
	wrong   []error
}

func newLedger(d desk, dice *rand.Rand) *ledger {
	l := &ledger{desk: d, dice: dice}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// future is when posts are scheduled for that are not to be published.
var future = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

// draw makes the next write and enters it.
func (l *ledger) draw() *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := len(l.entries)
	e := &entry{text: fmt.Sprintf("entry %d", number)}
	l.entries = append(l.entries, e)
	switch n := l.dice.IntN(100); {
	case n < 15 && len(l.waiting) > 0:
		at := l.dice.IntN(len(l.waiting))
		e.post = l.waiting[at]
		l.waiting = slices.Delete(l.waiting, at, at+1) // each is changed once, so that its end is known
		e.kind, e.call = edit, jsonCall(http.MethodPatch, "/v1/posts/"+e.post, map[string]string{"text": e.text})
		if n%2 == 0 {
			e.kind, e.call = cancel, jsonCall(http.MethodDelete, "/v1/posts/"+e.post, nil)
		}
	case n < 30:
		e.kind = upload
		e.call, e.sum = uploadOf(append(slices.Clone(pixel), fmt.Sprintf("%d %x", number, l.dice.Uint64())...))
	default:
		l.drawPosts(e, n)
	}
	e.call = e.once(fmt.Sprintf("key-%d-%x", number, l.dice.Uint64()))
	return e
}

// drawPosts makes e a request to publish, of whatever kind n (30 to 99) is.
func (l *ledger) drawPosts(e *entry, n int) {
	for _, i := range l.dice.Perm(len(l.accounts))[:1+l.dice.IntN(3)] {
		e.accounts = append(e.accounts, l.accounts[i])
	}
	var at time.Time
	switch {
	case n < 45:
		e.kind, at = soon, time.Now().Add(time.Duration(2000+l.dice.IntN(4000))*time.Millisecond)
	case n < 60:
		e.kind, at = later, future
	case n < 68: // whoever is killed now is killed on the way to the platform
		e.kind, e.text = immediate, e.text+" sandbox:slow"
	default:
		e.kind = immediate
	}
	e.call = l.writing(e.text, at, e.accounts...)
}

// pixel is an image of one pixel.
var pixel = func() []byte {
	image, err := base64.StdEncoding.DecodeString(
		"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
	if err != nil {
		panic(err)
	}
	return image
}()

const boundary = "the-boundary"

// uploadHead begins the body of an upload.
const uploadHead = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n"

// uploadOf is a call that uploads a file, and the file's checksum.
func uploadOf(content []byte) (call, string) {
	sum := sha256.Sum256(content)
	return call{
		method: http.MethodPost, path: "/v1/media", contentType: "multipart/form-data; boundary=" + boundary,
		body: bytes.Join([][]byte{[]byte(uploadHead), content, []byte("\r\n--" + boundary + "--\r\n")}, nil),
	}, hex.EncodeToString(sum[:])
}

// try sends an entry and notes what came of it.
func (l *ledger) try(ctx context.Context, e *entry, url string) {
	a, err := e.send(ctx, url, l.key)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.cut++
	case a.unavailable():
		l.away++
	case a.running() && e.again:
	default:
		l.enter(e, a)
	}
	l.changed.Broadcast()
}

// enter notes an answer. The lock is held.
func (l *ledger) enter(e *entry, a answer) {
	e.answer = a
	l.answers++
	late := e.kind == soon && e.again && a.is(http.StatusBadRequest, "validation_failed", "scheduledAt.future")
	if !a.ok() && !late {
		l.wrong = append(l.wrong, fmt.Errorf("%s was answered %s", e, a))
	}
	if e.kind == later && a.ok() {
		var b batch
		if err := a.into(&b); err != nil {
			l.wrong = append(l.wrong, err)
		}
		for _, r := range b.Results {
			l.waiting = append(l.waiting, r.PostID)
		}
	}
}

func (e *entry) String() string {
	return fmt.Sprintf("%q (%s, Idempotency-Key %s)", e.text, e.kind, e.idempotencyKey)
}

// write makes one write after another until ctx ends. url waits for a replica that runs; "" ends it as well.
func (l *ledger) write(ctx context.Context, url func() string) {
	for ctx.Err() == nil {
		where := url()
		if where == "" {
			return
		}
		// The call itself goes on: it is for the server to end it.
		l.try(context.WithoutCancel(ctx), l.draw(), where)
	}
}

// await waits until enough says so of the counts of answers, of calls without one, and of 503s.
func (l *ledger) await(ctx context.Context, enough func(answers, cut, away int) bool) error {
	defer context.AfterFunc(ctx, l.changed.Broadcast)()
	l.mu.Lock()
	defer l.mu.Unlock()
	for ctx.Err() == nil && !enough(l.answers, l.cut, l.away) {
		l.changed.Wait()
	}
	return context.Cause(ctx)
}

// counts are those of await, now.
func (l *ledger) counts() (answers, cut, away int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers, l.cut, l.away
}

// resolved is what writes that had no answer at first turned out to be: done all the same, or not done, and run now.
type resolved struct{ before, now int }

// resolve sends what has no answer again, until it has one.
func (l *ledger) resolve(ctx context.Context, url string) (done resolved, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("some writes get no answer but in_progress"))
	defer cancel()
	var group errgroup.Group
	group.SetLimit(32)
	for _, e := range l.entries {
		if e.answer.status != 0 {
			continue
		}
		e.again = true
		group.Go(func() error {
			for e.answer.status == 0 {
				l.try(ctx, e, url)
				if e.answer.status == 0 && pass(ctx, 200*time.Millisecond) != nil {
					return fmt.Errorf("%s: %w", e, context.Cause(ctx))
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return done, err
	}
	for _, e := range l.entries {
		switch {
		case !e.again:
		case e.answer.replayed, bytes.Contains(e.answer.body, []byte("publish.outcome_unknown")):
			done.before++
		default:
			done.now++
		}
	}
	return done, theFirst(l.wrong)
}
