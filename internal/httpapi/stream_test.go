// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/posting"
)

const eventStream = "text/event-stream"

// over wraps a stream's handler to tell when, and with what, it has returned.
func over(handle streaming) (streaming, <-chan error) {
	done := make(chan error, 100)
	return func(r *endpoint.Request, w io.Writer) (err error) {
		defer func() { done <- err }()
		return handle(r, w)
	}, done
}

func within(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("the handler still runs")
		return nil
	}
}

func TestStream(t *testing.T) {
	handle, _ := over(func(_ *endpoint.Request, w io.Writer) error {
		for i := range 3 {
			if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
				return err
			}
		}
		return nil
	})
	c := newStreamFixture(t, handle)
	for range 3 {
		got := c.answerOf(t, func() {})
		want := response{http.StatusOK, http.Header{
			"Content-Type": {eventStream}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}, "X-Request-Id": {"ID"},
		}, "data: 0\n\ndata: 1\n\ndata: 2\n\n"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if n := c.connections.Load(); n != 1 {
		t.Errorf("%d connections were made: one was not left as it was found", n)
	}
	if n := c.requests(t, cutPath, "GET", "200"); n != 3 {
		t.Errorf("%v successes are counted, want 3", n)
	}
	if got := seen(t, c.do(http.MethodHead, cutPath, c.plaintext)); got.Status != http.StatusMethodNotAllowed || got.Headers.Get("Allow") != "GET" {
		t.Errorf("HEAD: %+v", got)
	}
}

// Until the first byte, a stream is answered like anything else.
func TestStreamBeforeItsFirstByte(t *testing.T) {
	for _, tc := range []struct {
		reason string
		handle func(c *cutFixture, w io.Writer) error
		want   int
	}{
		{"nothing to send", func(*cutFixture, io.Writer) error { return nil }, 200},
		{"not found", func(*cutFixture, io.Writer) error { return posting.ErrNoProfile }, 404},
		{"broken", func(*cutFixture, io.Writer) error { panic("broken") }, 500},
		{"revoked", func(c *cutFixture, _ io.Writer) error { c.revoke(); return nil }, 401},
		{"revoked, and it writes all the same", func(c *cutFixture, w io.Writer) error {
			c.revoke()
			_, err := w.Write([]byte("secret"))
			return err
		}, 401},
		{"revoked, and it writes and does not look at the error", func(c *cutFixture, w io.Writer) error {
			c.revoke()
			_, _ = w.Write([]byte("secret"))
			return nil
		}, 401},
		{"revoked after it asked for its context", func(c *cutFixture, _ io.Writer) error {
			r := <-c.entered
			ctx := r.Context()
			c.revoke()
			<-ctx.Done()
			return ctx.Err()
		}, 401},
		{"expired", func(c *cutFixture, w io.Writer) error {
			c.expire()
			_, err := w.Write([]byte("secret"))
			return err
		}, 401},
		{"cut off", func(c *cutFixture, _ io.Writer) error { c.fence(); return nil }, 503},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var c *cutFixture
			c = newStreamFixture(t, func(_ *endpoint.Request, w io.Writer) error { return tc.handle(c, w) })
			resp, err := c.send(t)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tc.want || strings.Contains(string(body), "secret") {
				t.Fatalf("%d %s %v, want %d", resp.StatusCode, body, err, tc.want)
			}
			if want := map[bool]string{true: eventStream, false: "application/json"}[tc.want == 200]; resp.Header.Get("Content-Type") != want {
				t.Errorf("Content-Type %q, want %q", resp.Header.Get("Content-Type"), want)
			}
		})
	}
}

// TestStreamReset: after the first byte there is nothing left but to break off, so that nobody takes a part for the
// whole.
func TestStreamReset(t *testing.T) {
	errDisk := errors.New("disk full")
	cutBy := func(cut func(*cutFixture)) func(*cutFixture, *endpoint.Request, io.Writer) error {
		return func(c *cutFixture, r *endpoint.Request, _ io.Writer) error {
			cut(c)
			<-r.Context().Done()
			return r.Context().Err()
		}
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for _, tc := range []struct {
			reason string
			then   func(c *cutFixture, r *endpoint.Request, w io.Writer) error // after the first byte
			status int                                                         // as recorded
			cut    bool
			logged string
		}{
			{"revoked", cutBy((*cutFixture).revoke), 401, true, `"refusal":"revoked"`},
			{"cut off", cutBy((*cutFixture).fence), 503, true, `"error":"unavailable`},
			{"revoked, and the handler thinks it is done", func(c *cutFixture, _ *endpoint.Request, _ io.Writer) error {
				c.revoke()
				return nil
			}, 401, true, `"refusal":"revoked"`},
			{"expired, and the handler goes on writing", func(c *cutFixture, _ *endpoint.Request, w io.Writer) error {
				c.expire()
				_, err := w.Write([]byte("secret"))
				if !errors.Is(err, authn.Expired) {
					t.Errorf("Write = %v", err)
				}
				return err
			}, 401, true, `"refusal":"expired"`},
			{"an error", func(*cutFixture, *endpoint.Request, io.Writer) error { return errDisk }, 500, false, `"error":"disk full"`},
			{"a panic", func(*cutFixture, *endpoint.Request, io.Writer) error { panic("broken") }, 500, false, `"panic":"broken"`},
		} {
			t.Run(protocol+", "+tc.reason, func(t *testing.T) {
				arrived := make(chan struct{})
				var c *cutFixture
				c = newStreamFixture(t, func(r *endpoint.Request, w io.Writer) error {
					if _, err := w.Write([]byte("first")); err != nil {
						return err
					}
					<-arrived
					return tc.then(c, r, w)
				}, func(s *httptest.Server) {
					if protocol == "HTTP/2.0" {
						s.EnableHTTP2 = true
						s.StartTLS()
					}
				})
				resp, err := c.send(t)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				first := make([]byte, len("first"))
				if _, err := io.ReadFull(resp.Body, first); err != nil || resp.StatusCode != http.StatusOK || resp.Proto != protocol {
					t.Fatalf("%s %d %q %v", resp.Proto, resp.StatusCode, first, err)
				}
				close(arrived)
				rest, err := io.ReadAll(resp.Body)
				if err == nil || len(rest) != 0 {
					t.Errorf("the rest is %q, with the error %v; want none, and one", rest, err)
				}
				if protocol == "HTTP/1.1" && !errors.Is(err, io.ErrUnexpectedEOF) || protocol == "HTTP/2.0" && !strings.Contains(err.Error(), "stream error") {
					t.Errorf("error %v", err)
				}
				log := c.record(t)
				for _, want := range []string{tc.logged, `"reset":true`, `"status":` + itoa(tc.status), `"keyId":"` + string(c.key.UID)} {
					if !strings.Contains(log, want) {
						t.Errorf("the record has no %s: %s", want, log)
					}
				}
				if cut := c.counted(t, "lmp_http_requests_cut_total") == 1; cut != tc.cut || strings.Contains(log, `"cut":true`) != tc.cut {
					t.Errorf("counted as cut: %t, want %t; %s", cut, tc.cut, log)
				}
				if n := c.requests(t, cutPath, "GET", itoa(tc.status)); n != 1 {
					t.Errorf("%v requests are counted with status %d, want 1", n, tc.status)
				}
			})
		}
	}
}

// TestBlockedWriterIsUnblocked: a caller who does not read must not keep a request alive past its key.
func TestBlockedWriterIsUnblocked(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			handle, done := over(func(_ *endpoint.Request, w io.Writer) error {
				for chunk := make([]byte, 1<<20); ; {
					if _, err := w.Write(chunk); err != nil {
						return err
					}
				}
			})
			c := newStreamFixture(t, handle, func(s *httptest.Server) {
				if protocol == "HTTP/2.0" {
					s.EnableHTTP2 = true
					s.StartTLS()
				}
			})
			resp, err := c.send(t)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			select {
			case err := <-done:
				t.Fatalf("the handler came to an end: %v", err)
			case <-time.After(200 * time.Millisecond):
			}
			c.revoke()
			if err := within(t, done); err == nil {
				t.Error("Write had no error")
			}
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Error("the caller takes a part for the whole")
			}
		})
	}
}

// What the document says of a stream: its type, and the errors that any route has.
func TestStreamIsDescribed(t *testing.T) {
	e := endpoint.Streams(eventStream, func(*endpoint.Request, io.Writer) error { return nil })
	text, err := endpoint.Describe(endpoint.Description{
		Routes: []endpoint.Route{{Method: http.MethodGet, Path: "/v1/media/{id}", ID: "getMedia", Endpoint: e}},
	})
	if err != nil {
		t.Fatal(err)
	}
	type document struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]any
			}
		}
	}
	responses := decode[document](t, string(text)).Paths["/v1/media/{id}"]["get"].Responses
	got := map[string]string{}
	for status, r := range responses {
		for contentType := range r.Content {
			got[status] += contentType
		}
	}
	want := map[string]string{"200": eventStream}
	for _, status := range []string{"400", "401", "404", "429", "500", "503"} {
		want[status] = "application/json"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
