// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/github"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestFindings: what GitHub has signed is reported, each key once, and nothing is said of whether there is such a key.
func TestFindings(t *testing.T) {
	w := newWorld(t)
	live, test := w.key(key.Live), w.key(key.Test)
	typo := live[:46] + map[bool]string{true: "0", false: "1"}[live[46] != '0']
	body := w.findings(live, typo, test, "", "lmp_live_short", live)
	got := w.answer(w.signed("one", body))
	var said []map[string]string
	w.check(json.Unmarshal(got.Body.Bytes(), &said))
	var want []map[string]string
	for _, one := range []struct{ token, label string }{
		{live, "true_positive"},
		{typo, "false_positive"},
		{test, "true_positive"},
		{"", "false_positive"},
		{"lmp_live_short", "false_positive"},
		{live, "true_positive"},
	} {
		sum := sha256.Sum256([]byte(one.token))
		want = append(want, map[string]string{"token_hash": hex.EncodeToString(sum[:]), "token_type": "letmepost_key", "label": one.label})
	}
	if diff := cmp.Diff(want, said); diff != "" || got.Code != http.StatusOK {
		t.Errorf("%d, -want +got\n%s", got.Code, diff)
	}
	if !slices.Equal(w.reported, []string{live, test}) {
		t.Errorf("%q are reported", w.reported)
	}
	for _, secret := range []string{live, test, live[9:], typo} {
		if strings.Contains(w.audit.String(), secret) || strings.Contains(got.Body.String(), secret) {
			t.Errorf("%s stands in %s or %s", secret, &w.audit, got.Body)
		}
	}
	for _, part := range []string{`"event":"key.found"`, `"hint":"` + w.format.Hint(live) + `"`, `"url":"https://github.com/acme/shop/blob/main/lmp_live_…"`} {
		if strings.Count(w.audit.String(), part) < 1 {
			t.Errorf("%s is not in %s", part, &w.audit)
		}
	}
	long := bytes.ReplaceAll(w.findings(live), []byte("/blob/"), []byte("/"+strings.Repeat("ü", 2000)+"/"))
	w.status("long", w.signed("one", long), 200)
	if !strings.Contains(w.audit.String(), `ü…"`) || strings.Contains(w.audit.String(), "�") {
		t.Errorf("nobody sees that an address is cut: %s", &w.audit)
	}
	if again := w.answer(w.signed("one", body)); again.Code != http.StatusOK || again.Body.String() != got.Body.String() {
		t.Errorf("the same once more: %d %s", again.Code, again.Body)
	}
	if body := w.status("none", w.signed("one", []byte("[]")), 200); body != "[]\n" {
		t.Errorf("of none it says %q", body)
	}
	w.fails = errors.New("full")
	w.status("while no reports are taken", w.signed("one", body), 503)
}

// TestForged: what is not GitHub's is not read.
func TestForged(t *testing.T) {
	w := newWorld(t)
	w.signer("another")
	w.signer("never published")
	w.hidden["never published"] = true
	w.signer("P-384", elliptic.P384())
	body := w.findings(w.key(key.Live))
	sealed := func(change func(r *http.Request)) *http.Request {
		r := w.signed("one", body)
		change(r)
		return r
	}
	signature := w.signed("one", body).Header.Get("Github-Public-Key-Signature")
	for _, c := range []struct {
		reason string
		r      *http.Request
		want   int
	}{
		{"another body", sealed(func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(string(body) + " ")) }), 403},
		{"by another's key", sealed(func(r *http.Request) { r.Header.Set("Github-Public-Key-Identifier", "another") }), 403},
		{"by a key that there is not", sealed(func(r *http.Request) { r.Header.Set("Github-Public-Key-Identifier", "none") }), 403},
		{"by one that is not published", w.signed("never published", body), 403},
		{"by one of another kind", w.signed("P-384", body), 403},
		{"by one that is none", sealed(func(r *http.Request) { r.Header.Set("Github-Public-Key-Identifier", "rsa") }), 403},
		{"no base64", sealed(func(r *http.Request) { r.Header.Set("Github-Public-Key-Signature", "!") }), 403},
		{"half a signature", sealed(func(r *http.Request) { r.Header.Set("Github-Public-Key-Signature", signature[:len(signature)/2]) }), 403},
		{"something after it", sealed(func(r *http.Request) { r.Header.Set("Github-Public-Key-Signature", signature+"AAAA") }), 403},
		{"no signature", sealed(func(r *http.Request) { r.Header.Del("Github-Public-Key-Signature") }), 400},
		{"no key", sealed(func(r *http.Request) { r.Header.Del("Github-Public-Key-Identifier") }), 400},
		{"GET", sealed(func(r *http.Request) { r.Method = http.MethodGet }), 405},
		{"PUT", sealed(func(r *http.Request) { r.Method = http.MethodPut }), 405},
		{"10 MB, as it says", sealed(func(r *http.Request) { r.ContentLength = 10 << 20 }), 413},
		{"10 MB, and does not say it", sealed(func(r *http.Request) {
			r.ContentLength, r.Body = -1, io.NopCloser(io.LimitReader(zeros{}, 10<<20))
		}), 413},
		{"a body that ends early", sealed(func(r *http.Request) { r.Body = io.NopCloser(torn{}) }), 400},
		{"no JSON", w.signed("one", []byte("nonsense")), 400},
		{"no list", w.signed("one", []byte(`{"token":"x"}`)), 400},
		{"a list of something else", w.signed("one", []byte(`[1]`)), 400},
		{"nothing", w.signed("one", nil), 400},
		{"more than is taken", w.signed("one", []byte("["+strings.Repeat("{},", 6000)+"{}]")), 400},
	} {
		w.status(c.reason, c.r, c.want)
	}
	w.mu.Lock()
	if len(w.reported) > 0 || w.audit.Len() > 0 || w.asked != 1 {
		t.Errorf("%q are reported, %s; GitHub was asked %d times", w.reported, &w.audit, w.asked)
	}
	w.mu.Unlock()
	w.status("and one that is GitHub's", w.signed("one", body), 200)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type torn struct{}

func (torn) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestKeysOfGitHub: they are fetched when they are needed, once a minute at most, and gone by for a day without it.
func TestKeysOfGitHub(t *testing.T) {
	w := newWorld(t)
	body := w.findings(w.key(key.Live))
	later := func(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }
	asked := func(reason string, want int) {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.asked != want {
			t.Errorf("%s: GitHub was asked %d times, want %d", reason, w.asked, want)
		}
		w.asked = 0
	}
	asked("before anything has come", 0)
	w.broken.Store(true)
	w.status("while GitHub's keys are not known", w.signed("one", body), 503)
	w.status("once more", w.signed("one", body), 503)
	asked("it does not answer", 1)
	w.broken.Store(false)
	later(time.Minute)
	gone, end := context.WithCancel(t.Context())
	end()
	w.status("by somebody who has hung up", w.signed("one", body).WithContext(gone), 200)
	asked("for which it is asked all the same", 1)
	for range 3 {
		w.status("known", w.signed("one", body), 200)
	}
	asked("they are known", 0)

	w.signer("two")
	for range 5 {
		w.status("a new one, in the same minute", w.signed("two", body), 403)
	}
	asked("as it was asked just before", 0)
	later(time.Minute)
	w.status("a minute later", w.signed("two", body), 200)
	asked("for the new one", 1)
	w.signer("three")
	later(time.Minute)
	w.broken.Store(true)
	w.status("one that may be new, while GitHub is away", w.signed("three", body), 503)
	w.status("as are those that come next", w.signed("three", body), 503)
	w.status("and one that is known", w.signed("two", body), 200)
	asked("once a minute", 1)

	w.hidden["one"] = true
	w.status("one that is withdrawn", w.signed("one", body), 200)
	later(time.Hour)
	w.status("an hour later, while GitHub is away", w.signed("one", body), 200)
	w.broken.Store(false)
	later(time.Minute)
	w.status("and when it is back", w.signed("one", body), 403)
	w.tags = nil
	later(time.Hour)
	w.status("nothing new", w.signed("two", body), 200)
	if len(w.tags) != 1 || w.tags[0] == "" {
		t.Errorf("it is asked without saying what is known: %q", w.tags)
	}
	w.broken.Store(true)
	later(24*time.Hour - time.Second)
	w.status("almost a day without GitHub", w.signed("two", body), 200)
	later(time.Second)
	w.status("a day without GitHub", w.signed("two", body), 503)
}

// TestBefore: everything else is the API's.
func TestBefore(t *testing.T) {
	w := newWorld(t)
	all := w.Before(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) }))
	for path, want := range map[string]int{
		github.Path: 400, github.Path + "/": 418, "/v1/leaked": 418, "/v1/leaked/githubx": 418, "/": 418,
	} {
		rw := httptest.NewRecorder()
		all.ServeHTTP(rw, httptest.NewRequest(http.MethodPost, path, strings.NewReader("[]")))
		if rw.Code != want {
			t.Errorf("%s: %d, want %d", path, rw.Code, want)
		}
	}
}

// TestCallsAtOnce: bodies are bounded in all, too.
func TestCallsAtOnce(t *testing.T) {
	w := newWorld(t)
	body := w.findings(w.key(key.Live))
	reading, release := make(chan struct{}), make(chan struct{})
	var answers []chan int
	for range 16 {
		r := w.signed("one", body)
		r.Body = io.NopCloser(io.MultiReader(waits{reading, release}, bytes.NewReader(body)))
		answered := make(chan int, 1)
		answers = append(answers, answered)
		go func() { answered <- w.answer(r).Code }()
		<-reading
	}
	w.status("one more", w.signed("one", body), 503)
	close(release)
	for _, answered := range answers {
		if code := <-answered; code != http.StatusOK {
			t.Errorf("one of them: %d", code)
		}
	}
	w.status("after them", w.signed("one", body), 200)
}

// waits says that it is read, and ends when it is told to.
type waits struct{ reading, release chan struct{} }

func (b waits) Read([]byte) (int, error) {
	b.reading <- struct{}{}
	<-b.release
	return 0, io.EOF
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := github.New(github.Options{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("got %v", err)
	}
}

// FuzzFindings: whatever GitHub signs, it is answered, and what is reported has the shape of a key.
func FuzzFindings(f *testing.F) {
	f.Add([]byte(`[{"token":"lmp_live_x","type":"t","url":"u","source":"content"}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w := newWorld(t)
		if got := w.answer(w.signed("one", body)); got.Code != 200 && got.Code != 400 {
			t.Errorf("%q: %d %s", body, got.Code, got.Body)
		}
		for _, k := range w.reported {
			if _, err := w.format.Parse(k); err != nil {
				t.Errorf("%q is reported", k)
			}
		}
	})
}
