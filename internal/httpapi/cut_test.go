// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/posting"
)

// patience is how long tests wait for what should happen at once: on a loaded machine, things take long.
const patience = time.Minute

// cutFixture is an API on a socket, with one route that does what the test says.
type cutFixture struct {
	*fixture
	*httptest.Server
	key       *v1alpha1.ApiKey
	plaintext string

	entered     chan *endpoint.Request // each request on its way in
	connections atomic.Int64           // ever made
}

const cutPath = "/v1/test"

// newCutFixture makes one whose route returns what handle does.
func newCutFixture[T any](
	t *testing.T, handle func(*endpoint.Request) (T, error), mods ...func(*httptest.Server),
) *cutFixture {
	t.Helper()
	c := &cutFixture{entered: make(chan *endpoint.Request, 100)}
	return c.start(t, endpoint.Returns(func(r *endpoint.Request) (T, error) {
		c.entered <- r
		return handle(r)
	}), mods)
}

// streaming is the handler of a stream.
type streaming = func(*endpoint.Request, io.Writer) error

// newStreamFixture makes one whose route streams what handle writes.
func newStreamFixture(t *testing.T, handle streaming, mods ...func(*httptest.Server)) *cutFixture {
	t.Helper()
	c := &cutFixture{entered: make(chan *endpoint.Request, 100)}
	return c.start(t, endpoint.Streams(eventStream, func(r *endpoint.Request, w io.Writer) error {
		c.entered <- r
		return handle(r, w)
	}), mods)
}

func (c *cutFixture) start(t *testing.T, e endpoint.Endpoint, mods []func(*httptest.Server)) *cutFixture {
	t.Helper()
	c.key, c.plaintext = live(t, authntest.ExpiringAt(now.Add(time.Hour)))
	c.fixture = newFixtureOf(t, func(a *API) []endpoint.Route {
		return append([]endpoint.Route{{Method: http.MethodGet, Path: cutPath, ID: "test", Endpoint: e}}, a.routes()...)
	}, []any{c.key})
	c.Server = httptest.NewUnstartedServer(c.API)
	c.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.connections.Add(1)
		}
	}
	for _, mod := range mods {
		mod(c.Server)
	}
	if c.URL == "" {
		c.Start()
	}
	t.Cleanup(c.Close)
	return c
}

// send sends a request to the route. Its context ends with the test.
func (c *cutFixture) send(t *testing.T) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+cutPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.plaintext)
	return c.Client().Do(r)
}

// answerOf sends a request to the route, does what is to happen while it runs, and returns all that a client sees.
func (c *cutFixture) answerOf(t *testing.T, meanwhile func()) response {
	t.Helper()
	go func() {
		<-c.entered
		meanwhile()
	}()
	resp, err := c.send(t)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.Header().Del("Date") // net/http's
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(body)
	return seen(t, w)
}

// record waits for the first record in the log: it is written when its request has been answered.
func (c *cutFixture) record(t *testing.T) string {
	t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(time.Millisecond) {
		if line, _, ok := strings.Cut(c.log.String(), "\n"); ok {
			return line
		}
	}
	t.Fatal("there is no record")
	return ""
}

// The ways in which a request is cut.

func (c *cutFixture) revoke() {
	k := c.key.DeepCopy()
	authntest.Deleting(k)
	c.index.PutKey(k)
}

func (c *cutFixture) expire() { c.clock.SetTime(now.Add(time.Hour)) }

func (c *cutFixture) fence() {
	c.serving.Store(false)
	c.index.CutAll(authn.ErrUnavailable)
}

// TestCutBeforeTheAnswer: until it is sent, an answer can still become one for nobody.
func TestCutBeforeTheAnswer(t *testing.T) {
	type answer struct {
		Data string `json:"data"`
	}
	heeds := func(r *endpoint.Request) (answer, error) {
		<-r.Context().Done()
		return answer{"secret"}, r.Context().Err()
	}
	for _, tc := range []struct {
		reason string
		heeds  bool // the handler waits for its context rather than for the release
		cut    func(*cutFixture)
		result error // of a handler that does not
		panics bool
		status int
		why    string // as logged
	}{
		{"revoked, and the handler heeds it", true, (*cutFixture).revoke, nil, false, 401, `"refusal":"revoked"`},
		{"revoked, and the handler is done all the same", false, (*cutFixture).revoke, nil, false, 401, `"refusal":"revoked"`},
		{"revoked, and the handler found nothing", false, (*cutFixture).revoke, posting.ErrNoProfile, false, 401, `"refusal":"revoked"`},
		{"revoked, and the handler breaks", false, (*cutFixture).revoke, nil, true, 401, `"panic":"broken"`},
		{"expired", false, (*cutFixture).expire, nil, false, 401, `"refusal":"expired"`},
		{"cut off, and the handler heeds it", true, (*cutFixture).fence, nil, false, 503, `"error":"unavailable`},
		{"cut off, and the handler is done all the same", false, (*cutFixture).fence, nil, false, 503, `"error":"unavailable`},
		{"nothing happens", false, func(*cutFixture) {}, nil, false, 200, ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			release := make(chan struct{})
			handle := heeds
			if !tc.heeds {
				handle = func(*endpoint.Request) (answer, error) {
					<-release
					if tc.panics {
						panic("broken")
					}
					return answer{"secret"}, tc.result
				}
			}
			c := newCutFixture(t, handle)
			got := c.answerOf(t, func() {
				tc.cut(c)
				close(release)
			})
			if got.Status != tc.status {
				t.Fatalf("%d %s, want %d", got.Status, got.Body, tc.status)
			}
			if tc.status == http.StatusOK {
				return
			}
			// What comes in after it is answered alike, to the byte.
			if diff := cmp.Diff(c.answerOf(t, func() {}), got); diff != "" {
				t.Errorf("cut, and refused at once (-refused +cut):\n%s", diff)
			}
			record := c.record(t)
			for _, want := range []string{tc.why, `"cut":true`, `"keyId":"` + string(c.key.UID), `"status":` + itoa(tc.status)} {
				if !strings.Contains(record, want) {
					t.Errorf("the record has no %s: %s", want, record)
				}
			}
			if n := c.counted(t, "lmp_http_requests_cut_total"); n != 1 {
				t.Errorf("%v requests count as cut, want 1", n)
			}
		})
	}
}

// TestWriteAndRevocation: a write is either refused and leaves nothing behind, or it is done and says so.
func TestWriteAndRevocation(t *testing.T) {
	for _, tc := range []struct {
		reason         string
		before, during bool // when the key is revoked
		status         int
		written        bool
	}{
		{"not at all", false, false, 200, true},
		{"before the commit", true, false, 401, false},
		{"during the write", false, true, 200, true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var c *cutFixture
			written := false
			c = newCutFixture(t, func(r *endpoint.Request) (health, error) {
				if tc.before {
					c.revoke()
				}
				err := authn.Commit(r.Context(), func(context.Context) error {
					if tc.during {
						c.revoke()
					}
					written = true
					return nil
				})
				return health{"ok"}, err
			})
			got := c.answerOf(t, func() {})
			if got.Status != tc.status || written != tc.written {
				t.Errorf("%d %s, written: %t; want %d, %t", got.Status, got.Body, written, tc.status, tc.written)
			}
		})
	}
}

// TestContextsEnd: of a caller who has gone, and of a request whose connection its handler has given up.
func TestContextsEnd(t *testing.T) {
	ended := make(chan error, 1)
	c := newCutFixture(t, func(r *endpoint.Request) (health, error) {
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
		return health{}, r.Context().Err()
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-c.entered; leave() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+cutPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.plaintext)
	if resp, err := c.Client().Do(r); err == nil {
		resp.Body.Close()
		t.Error("it was answered")
	}
	select {
	case cause := <-ended:
		if !errors.Is(cause, context.Canceled) {
			t.Errorf("cause %v", cause)
		}
	case <-time.After(patience):
		t.Error("nobody tells the handler that its caller has gone")
	}

	c = newCutFixture(t, func(r *endpoint.Request) (health, error) {
		_ = r.Context()
		panic(http.ErrAbortHandler)
	})
	if resp, err := c.send(t); err == nil {
		resp.Body.Close()
		t.Error("it was answered")
	}
	r2 := <-c.entered
	select {
	case <-r2.Context().Done():
	case <-time.After(patience):
		t.Fatal("the handler has gone, and its context goes on")
	}
	// net/http has ended the context. Whether the flight is over, too, only a write can tell.
	c.Close() // waits for the handler
	err = authn.Commit(context.WithoutCancel(r2.Context()), func(context.Context) error { return nil })
	if err == nil {
		t.Error("the flight is still in the registry")
	}
}
