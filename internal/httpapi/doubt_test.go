// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// An upload whose connection to the database breaks while it is committed may have a row, or not. Its bytes stay in any
// case: "nobody ever finds a row without bytes".
func TestAnUploadInDoubt(t *testing.T) {
	for _, c := range []struct {
		reason string
		breaks int32
		files  int // in the end
	}{
		{"it was committed, and nobody was told", afterCommit, 1},
		{"it was not committed: a file is left, for the sweep of the next day", beforeCommit, 2},
	} {
		t.Run(c.reason, func(t *testing.T) {
			way := newWay(t, postgres.Start(t))
			f := newFixture(t, nil, func(c *parts) { publishing(t, c, way.url) })
			key := f.newKey(t)
			upload := uploadOf(key, picture(t, 3)).with("Idempotency-Key", "k")
			way.breaks.Store(c.breaks)
			f.sendAway(t, "the connection breaks", upload, http.StatusServiceUnavailable)
			<-way.broken
			again := f.send(upload)
			checkStatus(t, "again", again, http.StatusCreated)
			if was, want := again.Header().Get(replayed), c.breaks == afterCommit; (was == "true") != want {
				t.Errorf("replayed: %q, want %t", was, want)
			}
			m := decode[medium](t, again.Body.String())
			if content := f.get(t, "/v1/media/"+m.ID+"/content", key); content != picture(t, 3) {
				t.Errorf("its bytes are others: %q", content)
			}
			if rows, files := f.rows(t, "media"), f.files(t); rows != 1 || len(files) != c.files {
				t.Errorf("%d rows, files %v", rows, files)
			}
		})
	}
}

// admitted is the caller with a key.
func (f *fixture) admitted(t *testing.T, key string) *caller.Caller {
	t.Helper()
	var flight authn.Flight
	check(t, f.authenticator.Admit(t.Context(), f.clock.Now(), []string{"Bearer " + key}, &flight))
	check(t, flight.End())
	return flight.Caller()
}

// bodyHash is what tells a request's body from others under its Idempotency-Key: an HMAC of query and body by the key.
func bodyHash(s sent) string {
	_, query, _ := strings.Cut(s.target, "?")
	h := hmac.New(sha256.New, []byte("Bearer "+s.key))
	h.Write([]byte(query + "\x00" + s.body))
	return hex.EncodeToString(h.Sum(nil))
}

// begun leaves a request as a process does that dies while it publishes the posts of a batch.
func (f *fixture) begun(t *testing.T, s sent, batchID string) {
	t.Helper()
	view := f.config.Store.View(f.admitted(t, s.key))
	claim, _, err := view.Claim(t.Context(), store.Request{
		IdempotencyKey: s.headers.Get("Idempotency-Key"), Method: s.method, Path: s.target, BodyHash: bodyHash(s),
	})
	check(t, err)
	check(t, view.Write(t.Context(), func(tx *store.Tx) error { return tx.Begin(claim, batchID) }))
	check(t, view.Abandon(t.Context(), claim))
}

// Requests whose process died are answered all at once, when their callers come back all at once: there are more of
// them than connections to the database, and none waits for a second one while it holds its first.
func TestManyResumeAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		const callers = 64
		f := newFixture(t, nil)
		key := f.newKey(t)
		account := f.connect(t, key)
		made := f.publish(t, key, account, "hello")
		requests := make([]sent, callers)
		for i := range requests {
			requests[i] = publication(key, targetOf(account, ""), `,"text":"hello"`).with("Idempotency-Key", fmt.Sprint("k", i))
			f.begun(t, requests[i], made.ID)
		}
		answers := make([]*httptest.ResponseRecorder, callers)
		start := make(chan struct{})
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				<-start
				answers[i] = f.send(requests[i])
			})
		}
		began := time.Now()
		close(start)
		all.Wait()
		if took := time.Since(began); took > patience {
			t.Errorf("it took %v", took)
		}
		for i, w := range answers {
			if got := decode[batch](t, w.Body.String()); w.Code != http.StatusOK || got.ID != made.ID || got.Status != "published" {
				t.Errorf("request %d: %d %s", i, w.Code, w.Body)
			}
		}
		if n := f.rows(t, "posts"); n != 1 {
			t.Errorf("%d posts, want 1", n)
		}
	})
}
