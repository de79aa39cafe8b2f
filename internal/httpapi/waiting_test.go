// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// slowly is an API whose platform publishes when it is told to.
type slowly struct {
	*fixture
	entered, release chan struct{}
	first            chan *httptest.ResponseRecorder
}

func newSlowly(t *testing.T, mods ...func(*parts)) *slowly {
	t.Helper()
	s := &slowly{entered: make(chan struct{}), release: make(chan struct{}), first: make(chan *httptest.ResponseRecorder, 1)}
	p := &played{publish: func() error { close(s.entered); <-s.release; return nil }}
	s.fixture = newFixture(t, nil, append(mods, playing(t, p))...)
	return s
}

// begin sends a request, and returns once it is being published.
func (s *slowly) begin(r sent) {
	go func() { s.first <- s.send(r) }()
	<-s.entered
}

// Whoever sends a request again while the first still runs waits for its answer, and gets it. Another body is told at
// once.
func TestARetryWaitsForTheAnswer(t *testing.T) { onBoth(t, aRetryWaitsForTheAnswer) }

func aRetryWaitsForTheAnswer(t *testing.T) {
	t.Helper()
	f := newSlowly(t)
	key := f.newKey(t)
	r := hello(key, f.connect(t, key))
	f.begin(r)
	w, answered := f.await(r)
	changed := r
	changed.body = strings.Replace(changed.body, "hello", "hullo", 1)
	f.refused(t, "another body, while it runs", changed, http.StatusConflict, "idempotency_key.body_mismatch")
	close(f.release)
	done := <-f.first
	<-answered
	if done.Code != http.StatusOK || w.Header().Get(replayed) != "true" || w.Body.String() != done.Body.String() {
		t.Errorf("first %d %s; again %d %s", done.Code, done.Body, w.Code, w.Body)
	}
	if n := f.rows(t, "posts"); n != 1 {
		t.Errorf("%d posts", n)
	}
}

// It does not wait for ever: then it is told to send it again.
func TestARetryDoesNotWaitForEver(t *testing.T) {
	f := newSlowly(t, func(c *parts) { c.Wait = 1 })
	key := f.newKey(t)
	r := hello(key, f.connect(t, key))
	f.begin(r)
	w := f.send(r)
	checkStatus(t, "while it runs", w, http.StatusConflict)
	if e := errorOf(t, w); e.Code != "idempotency_conflict" || e.Rule != "idempotency_key.in_progress" || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%+v, Retry-After %q", e, w.Header().Get("Retry-After"))
	}
	close(f.release)
	<-f.first
}

// A revocation ends the waiting, and nobody whose key is gone learns the answer.
func TestARevocationEndsTheWaiting(t *testing.T) {
	f := newSlowly(t)
	k, key := live(t)
	f.index.PutKey(k)
	r := hello(key, f.connect(t, key))
	f.begin(r)
	w, answered := f.await(r)
	gone := k.DeepCopy()
	authntest.Deleting(gone)
	f.index.PutKey(gone)
	<-answered
	checkStatus(t, "it waited", w.ResponseRecorder, http.StatusUnauthorized)
	close(f.release)
	<-f.first
}

// waits is told when the answer may take longer, as is one that is waited for.
type waits struct {
	*httptest.ResponseRecorder
	waiting chan struct{}
	once    sync.Once
}

func (w *waits) SetWriteDeadline(time.Time) error {
	w.once.Do(func() { close(w.waiting) })
	return nil
}

// await sends a request, and returns once it waits for another one. answered is closed when it has its answer.
func (f *fixture) await(r sent) (w *waits, answered chan struct{}) {
	w = &waits{ResponseRecorder: httptest.NewRecorder(), waiting: make(chan struct{})}
	answered = make(chan struct{})
	go func() { defer close(answered); f.ServeHTTP(w, r.request()) }()
	select {
	case <-w.waiting:
	case <-answered:
	}
	return w, answered
}

// Whoever was answered in another form of the same value, or by an earlier version, which knew of no forms, gets the
// answer.
func TestTheSameValueIsTheSameRequest(t *testing.T) { onBoth(t, theSameValueIsTheSameRequest) }

func theSameValueIsTheSameRequest(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	send := func(body string) *httptest.ResponseRecorder {
		return f.send(sent{method: http.MethodPost, target: "/v1/posts", key: key, body: body}.with("Idempotency-Key", "value"))
	}
	first := send(`{"targets":[{"accountId":"` + account + `","text":"café / 😀"}],"publishNow":true}`)
	checkStatus(t, "first", first, http.StatusOK)
	for reason, body := range map[string]string{
		"members in another order": `{"publishNow":true,"targets":[{"text":"café / 😀","accountId":"` + account + `"}]}`,
		"escapes":                  `{"targets":[{"accountId":"` + account + `","text":"caf\u00e9 \/ \ud83d\ude00"}],"publishNow":true}`,
		"white space":              "{ \"targets\" :\n[{\t\"accountId\":\"" + account + "\",\"text\":\"café / 😀\"}] , \"publishNow\":true }\n",
		"escapes in names":         `{"t\u0061rgets":[{"accountId":"` + account + `","text":"café / 😀"}],"publishNow":true}`,
		"with a byte order mark":   "\ufeff" + `{"targets":[{"accountId":"` + account + `","text":"café / 😀"}],"publishNow":true}`,
	} {
		w := send(body)
		if w.Code != http.StatusOK || w.Header().Get(replayed) != "true" || w.Body.String() != first.Body.String() {
			t.Errorf("%s: %d %s", reason, w.Code, w.Body)
		}
	}
	for reason, body := range map[string]string{
		"another text":            `{"targets":[{"accountId":"` + account + `","text":"cafe / 😀"}],"publishNow":true}`,
		"another normal form":     `{"targets":[{"accountId":"` + account + `","text":"cafe\u0301 / 😀"}],"publishNow":true}`,
		"a member more":           `{"targets":[{"accountId":"` + account + `","text":"café / 😀"}],"publishNow":true,"media":[]}`,
		"a list in other order":   `{"targets":[{"text":"x","accountId":"` + account + `"},{"accountId":"` + account + `","text":"café / 😀"}],"publishNow":true}`,
		"a member twice, no JSON": `{"publishNow":true,"targets":[{"accountId":"` + account + `","text":"café / 😀"}],"publishNow":true}`,
	} {
		w := send(body)
		if w.Code != http.StatusConflict || errorOf(t, w).Rule != "idempotency_key.body_mismatch" {
			t.Errorf("%s: %d %s", reason, w.Code, w.Body)
		}
	}
}

// A claim that an earlier version has made is found by the bytes of its body.
func TestClaimsOfAnEarlierVersion(t *testing.T) { onBoth(t, claimsOfAnEarlierVersion) }

func claimsOfAnEarlierVersion(t *testing.T) {
	t.Helper()
	db := newFixture(t, nil).config.Store
	v := db.View(&caller.Caller{
		Organization: caller.Organization{ID: authntest.OrganizationID}, Environment: "live", Actor: caller.PersonActor("ann", now.AddDate(1, 0, 0)),
	})
	old := store.Request{IdempotencyKey: "k", Method: "POST", Path: "/v1/posts", BodyHash: "bytes"}
	claim, _, err := v.Claim(t.Context(), old)
	check(t, err)
	check(t, v.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Settle(claim, store.Stored{Status: 200, Body: []byte("{}"), BodyHash: old.BodyHash})
	}))
	again := old
	again.BodyHash, again.FormerHash = "value", "bytes"
	if _, stored, err := v.Claim(t.Context(), again); err != nil || stored == nil || stored.Status != http.StatusOK {
		t.Errorf("the same bytes: %+v, %v", stored, err)
	}
	again.FormerHash = "other bytes"
	if _, _, err := v.Claim(t.Context(), again); err == nil {
		t.Error("other bytes are taken for the same")
	}
}
