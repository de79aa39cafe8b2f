// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/publish"
)

// played is a platform of a test's own.
type played struct {
	platform.Publisher
	platform.Connector
	publish func() error // what happens before it is published; nil: nothing
	connect func() error
}

func (p *played) Publish(ctx context.Context, in platform.Publication) (platform.Outcome, error) {
	if p.publish != nil {
		if err := p.publish(); err != nil {
			return nil, err
		}
	}
	return p.Publisher.Publish(ctx, in)
}

func (p *played) Complete(ctx context.Context, in platform.ConnectionAnswer) (platform.Connection, error) {
	if p.connect != nil {
		if err := p.connect(); err != nil {
			return platform.Connection{}, err
		}
	}
	return p.Connector.Complete(ctx, in)
}

// playing makes p bluesky.
func playing(t testing.TB, p *played) func(*parts) {
	return func(c *parts) {
		played, _ := c.Platforms.Get(bluesky.Name)
		p.Publisher, p.Connector = played.Publisher, played.Connector
		played.Publisher, played.Connector = p, p
		c.Platforms = platform.List{played}
		publisher, err := publish.New(publish.Options{
			Store: c.Store, Media: c.Library, Platforms: c.Platforms,
			Clock: c.Clock, Logger: c.Logger, Registerer: prometheus.NewRegistry(),
		})
		check(t, err)
		c.Publisher = publisher
	}
}

const replayed = "Idempotency-Replayed"

// hello is a request to publish at once.
func hello(key, account string) sent {
	return publication(key, `{"accountId":"`+account+`"}`, `,"text":"hello"`).with("Idempotency-Key", "01HY6X4AWBJM2K9F2PTQMRD9JQ")
}

// "Idempotency-Key: … (optional, recommended on writes)": on every write, the answer is given again, and nothing is
// done again.
func TestEveryWriteIsReplayed(t *testing.T) { onBoth(t, everyWriteIsReplayed) }

func everyWriteIsReplayed(t *testing.T) {
	t.Helper()
	p := newProvoker(t)
	for i := range routes {
		r := &routes[i]
		if !r.Changes() {
			continue
		}
		name, s := r.Method+" "+r.Path, p.successOf(t, r, p.org).with("Idempotency-Key", "k-"+r.ID)
		first := seen(t, p.works.send(s))
		before := p.works.rows(t, "posts", "media", "accounts", "attempts", "claims")
		for _, form := range []string{"k-" + r.ID, `"k-` + r.ID + `"`, " k-" + r.ID + "\t"} {
			w := p.works.send(s.with("Idempotency-Key", form))
			if w.Header().Get(replayed) != "true" {
				t.Errorf("%s, sent again as %q, is not said to be replayed", name, form)
			}
			again := seen(t, w)
			again.Headers.Del(replayed)
			if diff := cmp.Diff(first, again); diff != "" || first.Status >= http.StatusMultipleChoices {
				t.Errorf("%s, sent again: %d (-first +again):\n%s", name, again.Status, diff)
			}
		}
		if after := p.works.rows(t, "posts", "media", "accounts", "attempts", "claims"); after != before {
			t.Errorf("%s, sent again: %d rows, then %d", name, before, after)
		}
		if len(r.Query) == 0 {
			continue
		}
		s.target += "?profileId=" + p.profile
		p.works.refused(t, name+" with another query", s, http.StatusConflict, "idempotency_key.body_mismatch")
	}
}

// What counts as the same request: the API key, the method, the path and the Idempotency-Key.
func TestIdempotencyKeysScope(t *testing.T) {
	f := newFixture(t, nil)
	mine, others := f.newKey(t), f.newKey(t)
	account := f.connect(t, mine)
	f.refused(t, "without an Idempotency-Key", publication(mine, `{"accountId":"none"}`, `,"text":"x"`), http.StatusNotFound, "")
	first := ok[batch](t, f, hello(mine, account))
	if again := ok[batch](t, f, hello(mine, account)); again.ID != first.ID {
		t.Errorf("the same: got %s and %s", first.ID, again.ID)
	}
	if theirs := ok[batch](t, f, hello(others, account)); theirs.ID == first.ID {
		t.Error("another key of the organization is shown the answer")
	}
	changed := hello(mine, account)
	changed.body = strings.Replace(changed.body, "hello", "hullo", 1)
	f.refused(t, "another body", changed, http.StatusConflict, "idempotency_key.body_mismatch")
	if e := errorOf(t, f.send(changed)); e.Code != "idempotency_conflict" {
		t.Errorf("code %s", e.Code)
	}
	queued := f.schedule(t, mine, account, "")
	same := sent{method: http.MethodPatch, target: "/v1/posts/" + queued, key: mine, body: `{"text":"x"}`}.with("Idempotency-Key", "same")
	ok[post](t, f, same)
	for _, s := range []sent{
		{method: http.MethodDelete, target: "/v1/posts/" + queued},
		{method: http.MethodPost, target: "/v1/posts/" + queued + "/retry"},
	} {
		s.key, s.headers = mine, same.headers
		if w := f.send(s); w.Header().Get(replayed) != "" || w.Code != http.StatusOK {
			t.Errorf("%s %s: %d %s", s.method, s.target, w.Code, w.Body)
		}
	}
}

func TestIdempotencyKeysLastADay(t *testing.T) { onBoth(t, idempotencyKeysLastADay) }

func idempotencyKeysLastADay(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	first := ok[batch](t, f, hello(key, account))
	for _, c := range []struct {
		after  time.Duration
		replay bool
	}{{24*time.Hour - 1, true}, {24*time.Hour + 1, false}, {47 * time.Hour, true}} {
		f.clock.SetTime(now.Add(c.after))
		w := f.send(hello(key, account))
		if got := decode[batch](t, w.Body.String()).ID == first.ID; w.Code != http.StatusOK || (w.Header().Get(replayed) == "true") != c.replay || c.after < 24*time.Hour && !got {
			t.Errorf("%v later: %d %s, replayed: %q", c.after, w.Code, w.Body, w.Header().Get(replayed))
		}
	}
	if n := f.rows(t, "posts"); n != 2 {
		t.Errorf("%d posts, want 2", n)
	}
}

// An error that is the caller's own is an answer like any other; one of ours is none.
func TestWhichErrorsAreReplayed(t *testing.T) {
	p := &played{}
	f := newFixture(t, nil, playing(t, p))
	key := f.newKey(t)
	connect := func(name string) sent {
		return sent{
			method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key, body: `{"identifier":"a.test","appPassword":"x"}`,
		}.with("Idempotency-Key", name)
	}
	for _, c := range []struct {
		reason string
		fails  func() error
		status int
		kept   bool
	}{
		{"the platform is away", func() error { return &platform.Failure{Code: platform.CodeUnavailable} }, 502, false},
		{"a mistake of ours", func() error { return errors.New("disk 7") }, 500, false},
		{"a panic", func() error { panic("broken") }, 500, false},
		{"the platform asks to slow down", func() error { return &platform.Failure{Code: platform.CodeRateLimited} }, 429, false},
		{"the platform's part of this server is wrong", func() error { return &platform.Failure{Code: platform.CodeInternalError} }, 500, false},
		{"a code that nobody knows", func() error { return &platform.Failure{Code: "new"} }, 500, false},
		{"the platform rejects it", func() error { return &platform.Failure{Code: platform.CodeRejected} }, 400, true},
		{"the platform is not offered", func() error { return &platform.Failure{Code: platform.CodeNotEnabled} }, 403, true},
		{"the platform says no", func() error { return &platform.Failure{Code: platform.CodeAuthFailed, Message: "No."} }, 403, true},
		{"what was sent makes no sense", func() error { return &platform.Failure{Code: platform.CodeInvalid, Rule: "identifier"} }, 400, true},
	} {
		p.connect = c.fails
		first := f.send(connect(c.reason))
		checkStatus(t, c.reason, first, c.status)
		p.connect = nil
		again := f.send(connect(c.reason))
		if c.kept {
			if again.Code != c.status || again.Header().Get(replayed) != "true" || again.Body.String() != first.Body.String() {
				t.Errorf("%s, and again: %d %s, want what it was", c.reason, again.Code, again.Body)
			}
		} else if again.Code >= http.StatusMultipleChoices || again.Header().Get(replayed) != "" {
			t.Errorf("%s, and again: %d %s, want that it is run", c.reason, again.Code, again.Body)
		}
	}
	pattern := "/v1/accounts/connect/{platform}/complete"
	if n := f.requests(t, pattern, "POST", "403"); n != 4 {
		t.Errorf("%v answers with 403 are counted, want 4: a replay counts as what it is", n)
	}
}

// An error that is replayed is recorded as the error that it is, and has the id of the request that it was the answer
// to.
func TestReplayedErrorsAreRecorded(t *testing.T) {
	f := newFixture(t, nil)
	s := publication(f.newKey(t), "", "").with("Idempotency-Key", "k")
	first := f.send(s)
	for range 2 {
		again := f.send(s)
		checkStatus(t, "again", again, http.StatusBadRequest)
		if again.Header().Get(replayed) != "true" || again.Body.String() != first.Body.String() {
			t.Errorf("%s, and then %s", first.Body, again.Body)
		}
		if id := again.Header().Get("X-Request-Id"); id == "" || id == errorOf(t, again).RequestID {
			t.Errorf("X-Request-Id %q: want one of its own", id)
		}
	}
	all := records(t, f)
	if len(all) != 3 {
		t.Fatalf("%d records of 3 requests: %v", len(all), all)
	}
	for _, r := range all {
		if r["status"] != 400.0 || r["rule"] != "targets.required" {
			t.Errorf("%v", r)
		}
	}
}

// The scheme and the key are told apart by any number of spaces (RFC 9110 section 11.4): it is the same request all the
// same.
func TestSpacesAreNoOtherRequest(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	s := hello(key, f.connect(t, key))
	first := ok[batch](t, f, s)
	w := f.send(s.with("Authorization", "Bearer   "+key))
	if got := decode[batch](t, w.Body.String()); w.Header().Get(replayed) != "true" || got.ID != first.ID {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// "Revocation is immediate; in-flight requests on the old key fail with unauthenticated": and leave nothing behind.
func TestACutWriteLeavesNothing(t *testing.T) {
	p := &played{}
	f := newFixture(t, nil, playing(t, p))
	k, key := live(t)
	f.index.PutKey(k)
	p.connect = func() error {
		if n := f.rows(t, "claims"); n != 1 {
			t.Errorf("%d claims while it runs: the claim comes before the handler", n)
		}
		gone := k.DeepCopy()
		authntest.Deleting(gone)
		f.index.PutKey(gone)
		return nil
	}
	w := f.send(sent{
		method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key, body: `{"identifier":"a.test","appPassword":"x"}`,
	}.with("Idempotency-Key", "cut"))
	checkStatus(t, "revoked meanwhile", w, http.StatusUnauthorized)
	if e := errorOf(t, w); e.Code != "unauthenticated" {
		t.Errorf("code %s", e.Code)
	}
	if n := f.rows(t, "accounts", "claims"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestConcurrentIdenticalWritesRunOnce(t *testing.T) { onBoth(t, concurrentIdenticalWritesRunOnce) }

func concurrentIdenticalWritesRunOnce(t *testing.T) {
	t.Helper()
	const callers = 200
	var published atomic.Int64
	p := &played{publish: func() error { published.Add(1); return nil }}
	f := newFixture(t, nil, playing(t, p))
	key := f.newKey(t)
	account := f.connect(t, key)
	answers := make([]*httptest.ResponseRecorder, callers)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			<-start
			answers[i] = f.send(hello(key, account))
		})
	}
	close(start)
	all.Wait()
	ran, answered, ids := 0, 0, map[string]bool{}
	for _, w := range answers {
		switch {
		case w.Code == http.StatusOK:
			answered++
			ids[decode[batch](t, w.Body.String()).ID] = true
			if w.Header().Get(replayed) == "" {
				ran++
			}
		case w.Code != http.StatusConflict || errorOf(t, w).Rule != "idempotency_key.in_progress":
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if ran+len(ids) > 0 && answered < 2 { // whoever waited has the answer; there are more than may wait
		t.Errorf("%d of %d were answered", answered, callers)
	}
	if posts := f.rows(t, "posts"); ran != 1 || len(ids) != 1 || posts != 1 || published.Load() != 1 {
		t.Errorf("%d ran, %d batches, %d posts, published %d times; want one of each", ran, len(ids), posts, published.Load())
	}
}

// An upload is told by its file: neither the boundary, nor the name, nor the order of headers is what was sent.
func TestUploadsAreToldByTheirFiles(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	named := func(s sent) sent { return s.with("Idempotency-Key", "upload") }
	f.refused(t, "a broken one is not kept", named(uploadOf(key, "GIF89a")), http.StatusBadRequest, "media.broken")
	first := ok[medium](t, f, named(uploadOf(key, picture(t, 7))))
	for reason, s := range map[string]sent{
		"the same":         uploadOf(key, picture(t, 7)),
		"another boundary": multiparts(key, "another", part{fileNamed, picture(t, 7)}),
		"another name":     multiparts(key, "b0undary", part{`form-data; name=file; filename=other.gif`, picture(t, 7)}),
	} {
		w := f.send(named(s))
		if got := decode[medium](t, w.Body.String()); w.Code != http.StatusCreated || w.Header().Get(replayed) != "true" || got.ID != first.ID {
			t.Errorf("%s: %d %s", reason, w.Code, w.Body)
		}
	}
	f.refused(t, "another file", named(uploadOf(key, picture(t, 8))), http.StatusConflict, "idempotency_key.body_mismatch")
	f.refused(t, "two files", named(multiparts(key, "b", part{fileNamed, picture(t, 7)}, part{fileNamed, picture(t, 7)})),
		http.StatusBadRequest, "media.single_file")
	f.refused(t, "no file any more", named(uploadOf(key, "text")), http.StatusBadRequest, "media.type")
	if n := f.rows(t, "media"); n != 1 {
		t.Errorf("%d media, want 1", n)
	}
}
