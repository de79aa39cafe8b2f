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
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// entry is a write, and what the client was told of it.
type entry struct {
	kind
	call
	accounts []string  // of posts, in the order of the targets
	account  string    // that is disconnected
	text     string    // that the post is to have
	post     string    // the post that is changed
	medium   string    // the file that is deleted
	sum      string    // of the file
	answer   answer    // zero: nobody knows yet
	due      time.Time // of what is published in some seconds
	again    bool      // it was sent again, as the first time had no answer
}

// ledger is what a client has written, and must find again.
type ledger struct {
	desk

	mu      sync.Mutex
	changed *sync.Cond
	dice    *rand.Rand
	entries []*entry
	pool    pool
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
	// By now its time has come: it was sent again, or a busy machine took that long to send it.
	if !a.ok() && (e.kind != soon || !a.late(e.due)) {
		l.wrong = append(l.wrong, fmt.Errorf("%s was answered %s", e, a))
	}
	if a.ok() {
		if err := l.pool.add(e); err != nil {
			l.wrong = append(l.wrong, fmt.Errorf("%s: %w", e, err))
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
