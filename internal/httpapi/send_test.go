// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// sent is a request of a test. A body is JSON unless headers say otherwise.
type sent struct {
	method, target, key string
	headers             http.Header
	body                string
}

func (s sent) request() *http.Request {
	r := httptest.NewRequest(s.method, s.target, strings.NewReader(s.body))
	if s.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.key != "" {
		r.Header.Set("Authorization", "Bearer "+s.key)
	}
	for name, values := range s.headers {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return r
}

// with returns s with another header.
func (s sent) with(name, value string) sent {
	s.headers = s.headers.Clone()
	if s.headers == nil {
		s.headers = http.Header{}
	}
	s.headers.Set(name, value)
	return s
}

func (f *fixture) send(s sent) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, s.request())
	return w
}

// ok sends a request that must succeed, and returns its answer.
func ok[T any](t testing.TB, f *fixture, s sent) T {
	t.Helper()
	w := f.send(s)
	if w.Code >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %d %s", s.method, s.target, w.Code, w.Body)
	}
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return v
}

// refused sends a request that must be refused with this status and rule.
func (f *fixture) refused(t *testing.T, reason string, s sent, status int, rule string) {
	t.Helper()
	w := f.send(s)
	if w.Code != status {
		t.Errorf("%s: %d %.300s, want %d", reason, w.Code, w.Body, status)
		return
	}
	e := errorOf(t, w)
	if e.Rule != rule {
		t.Errorf("%s: rule %q, want %q", reason, e.Rule, rule)
	}
	page := ""
	if rule != "" {
		page = "https://docs.letmepost.dev/preflight/" + strings.ToLower(strings.ReplaceAll(rule, ".", "-"))
	}
	if e.RuleURL != page {
		t.Errorf("%s: ruleUrl %q, want %q", reason, e.RuleURL, page)
	}
}

// identifiers makes each connection of the tests another account.
var identifiers atomic.Int64

// connect makes an account of bluesky.
func (f *fixture) connect(t testing.TB, key string) string {
	t.Helper()
	return f.connectTo(t, key, "bluesky", fmt.Sprintf("alice-%d.test", identifiers.Add(1)))
}

func (f *fixture) connectTo(t testing.TB, key, platform, identifier string) string {
	t.Helper()
	in := map[string]string{"identifier": identifier}
	if platform == "bluesky" {
		in["appPassword"] = "hunter2"
	}
	return ok[account](t, f, sent{
		method: http.MethodPost, target: "/v1/accounts/connect/" + platform + "/complete", key: key, body: jsonOf(in),
	}).ID
}

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// later is when posts of the tests are for.
var later = now.AddDate(0, 0, 1).Format("2006-01-02T15:04:05Z07:00")

// publishing is a request to publish.
func publication(key string, targets string, more string) sent {
	return sent{method: http.MethodPost, target: "/v1/posts", key: key, body: `{"targets":[` + targets + `]` + more + `}`}
}

// schedule makes a queued post.
func (f *fixture) schedule(t testing.TB, key, account, more string) string {
	t.Helper()
	s := publication(key, `{"accountId":"`+account+`"}`, `,"text":"later","scheduledAt":"`+later+`"`+more)
	return ok[batch](t, f, s).Results[0].PostID
}

// picture is a small PNG.
func picture(t testing.TB, width int) string {
	t.Helper()
	var b bytes.Buffer
	check(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, width, 1))))
	return b.String()
}

// part is one of a multipart body, with its Content-Disposition.
type part struct{ disposition, content string }

const fileNamed = `form-data; name="file"; filename="image.png"`

// multiparts is a request to upload.
func multiparts(key, boundary string, parts ...part) sent {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: %s\r\n\r\n%s\r\n", boundary, p.disposition, p.content)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	s := sent{method: http.MethodPost, target: "/v1/media", key: key, body: b.String()}
	return s.with("Content-Type", "multipart/form-data; boundary="+boundary)
}

func uploadOf(key, content string) sent { return multiparts(key, "b0undary", part{fileNamed, content}) }

func (f *fixture) upload(t testing.TB, key string) string {
	t.Helper()
	return ok[medium](t, f, uploadOf(key, picture(t, 3))).ID
}

// testEnvironment makes an API of the test environment on the database and the media of f.
func (f *fixture) testEnvironment(t testing.TB) *fixture {
	t.Helper()
	other := newFixture(t, nil, func(c *parts) {
		c.Store, c.Library, c.Publisher = f.config.Store, f.config.Library, f.publisher
		c.Environment, c.Directory, c.Clock = key.Test, f.index, f.clock
		c.Admission.Authenticator = authntest.Authenticator(t, f.index, key.Test, f.clock)
	})
	other.index = f.index
	return other
}

// notEnabled is the live environment until a platform is built: there are no connectors.
func notEnabled(c *parts) { c.Platforms = nil }

// rows counts what there is in the tables of the database.
func (f *fixture) rows(t testing.TB, tables ...string) int {
	t.Helper()
	sum := 0
	for _, table := range tables {
		var n int
		check(t, f.config.Store.View(&caller.Caller{}).Write(t.Context(), func(tx *store.Tx) error {
			return tx.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n)
		}))
		sum += n
	}
	return sum
}

// check fails the test where nothing must go wrong.
func checkStatus(t testing.TB, what string, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("%s: %d %.300s, want %d", what, w.Code, w.Body, want)
	}
}
