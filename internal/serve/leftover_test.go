// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/utils/clock"
)

// refusing is a handler that reads nothing of a body, but of /part a byte, and of /all all.
var refusing = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/part":
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
	case "/all":
		_, _ = io.Copy(io.Discard, r.Body)
	}
	w.Header().Set("Content-Length", "2")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, "no")
})

// Whoever sends all of a request before they read anything gets the answer, although nobody read the request. So do
// urllib and many others.
func TestWhoeverSendsAllFirstGetsTheAnswer(t *testing.T) {
	p := start(t, refusing)
	const size = 60 << 20
	zeros := strings.NewReader(strings.Repeat("\x00", size))
	for _, c := range []struct {
		reason, path, header string
		chunked              bool
	}{
		{"nothing was read", "/", fmt.Sprint("Content-Length: ", size), false},
		{"some was read", "/part", fmt.Sprint("Content-Length: ", size), false},
		{"all was read", "/all", fmt.Sprint("Content-Length: ", size), false},
		{"chunks", "/", "Transfer-Encoding: chunked", true},
		{"chunks, and some was read", "/part", "Transfer-Encoding: chunked", true},
		{"it has not waited for 100 Continue", "/", fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d", size), false},
	} {
		conn := dial(t, p.api)
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", c.path, c.header)
		_, _ = zeros.Seek(0, io.SeekStart)
		if c.chunked {
			_, _ = fmt.Fprintf(conn, "%x\r\n", size)
		}
		if _, err := io.Copy(conn, zeros); err != nil {
			t.Errorf("%s: the connection broke: %v", c.reason, err)
		}
		if c.chunked {
			_, _ = io.WriteString(conn, "\r\n0\r\n\r\n")
		}
		got, h := conn.answer()
		if got != http.StatusUnauthorized {
			t.Errorf("%s: %d", c.reason, got)
		}
		// What was read to its end leaves a connection that is as good as before.
		if h.Get("Connection") != "close" {
			if got := conn.get("/"); got != http.StatusUnauthorized {
				t.Errorf("%s: the next request: %d", c.reason, got)
			}
		}
		conn.Close()
	}
}

// A client that waits for 100 Continue is told at once, and not asked for what nobody wants.
func TestTheAnswerComesInPlaceOf100Continue(t *testing.T) {
	p := start(t, refusing)
	conn := dial(t, p.api)
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
	if got, _ := conn.answer(); got != http.StatusUnauthorized {
		t.Errorf("got %d", got)
	}
}

// What is thrown away is bounded: the connection ends, with the answer on it.
func TestLeftoversAreBounded(t *testing.T) {
	p := start(t, refusing, func(o *Options) { o.Limits = Limits{Discard: 1 << 20, Clock: clock.RealClock{}} })
	conn := dial(t, p.api)
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
	if got, _ := conn.answer(); got != http.StatusUnauthorized {
		t.Errorf("got %d", got)
	}
	sent, err := io.Copy(conn, io.LimitReader(endless{}, 1<<30))
	if err == nil {
		t.Errorf("%d bytes were taken", sent)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A process that stops does not wait for those who still send.
func TestLeftoversEndWithTheProcess(t *testing.T) {
	p := start(t, refusing)
	conn := dial(t, p.api)
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
	if got, _ := conn.answer(); got != http.StatusUnauthorized {
		t.Errorf("got %d", got)
	}
	go func() { _, _ = io.Copy(conn, endless{}) }()
	p.stop()
	if err := p.wait(t); err != nil {
		t.Errorf("somebody was cut off: %v", err)
	}
}
