// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/media"
)

// hurry is the time that the server of these tests gives a request: enough to look at its key and into the database on
// a machine that is busy. Like the real one, it gives an answer more.
const hurry = 2 * time.Second

// hurried is an API on a socket whose server has little time, and what transfers are slow by: each tick some of them
// goes on.
func hurried(t *testing.T) (f *fixture, address string, ticks <-chan time.Time) {
	t.Helper()
	f = newFixture(t, nil, byRealTime(t), func(c *parts) {
		folder := url.URL{Scheme: "file", Path: filepath.Join(t.TempDir(), "media")}
		library, err := media.Open(t.Context(), folder.String(), media.DefaultMaxSize)
		check(t, err)
		t.Cleanup(func() { check(t, library.Close()) })
		c.Library = library
	})
	server := httptest.NewUnstartedServer(f)
	server.Config.ReadTimeout, server.Config.WriteTimeout = hurry, 2*hurry
	server.Start()
	t.Cleanup(server.Close)
	ticker := time.NewTicker(hurry / 7)
	t.Cleanup(ticker.Stop)
	return f, server.Listener.Addr().String(), ticker.C
}

// A file may take longer than the server gives a request, as long as some of it keeps coming.
func TestASlowUpload(t *testing.T) {
	f, address, ticks := hurried(t)
	whole := uploadOf(f.newKey(t), picture(t, 300))
	began := time.Now()
	status, body := raw(t, address, header("/v1/media", whole.key, whole.headers.Get("Content-Type"), fmt.Sprint("Content-Length: ", len(whole.body))), func(conn net.Conn) {
		const pieces = 20
		for rest := whole.body; rest != ""; {
			<-ticks
			n := min(len(whole.body)/pieces, len(rest))
			if _, err := io.WriteString(conn, rest[:max(n, 1)]); err != nil {
				return
			}
			rest = rest[max(n, 1):]
		}
	})
	if m := decode[medium](t, body); status != http.StatusCreated || m.SizeBytes != int64(len(picture(t, 300))) {
		t.Errorf("%d %s", status, body)
	}
	if took := time.Since(began); took < 2*hurry {
		t.Errorf("it took %v: the server's own time would do", took)
	}
	if n := f.rows(t, "media"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// Whoever stops in the middle of a JSON body is told so, and nothing was done.
func TestABodyThatStops(t *testing.T) {
	f, address, _ := hurried(t)
	status, body := raw(t, address, header("/v1/posts", f.newKey(t), "application/json", "Content-Length: 100\r\nIdempotency-Key: stalled"), func(conn net.Conn) {
		_, _ = io.WriteString(conn, `{"text":"half of`) // and then nothing more
	})
	if status != http.StatusBadRequest || decode[endpoint.ErrorEnvelope](t, body).Error.Rule != "body" {
		t.Errorf("%d %s", status, body)
	}
	if n := f.rows(t, "posts"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// A file may take longer to be sent than the server gives an answer, as long as its caller keeps reading.
func TestASlowDownload(t *testing.T) {
	f, address, ticks := hurried(t)
	const step = 1 << 20
	const size = 24 * step // more than all buffers on the way hold
	key := f.newKey(t)
	content := "GIF89a\x01\x00\x01\x00\x00\x00\x00" + strings.Repeat("x", size)
	m := ok[medium](t, f, uploadOf(key, content))
	conn, err := net.Dial("tcp", address)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	check(t, conn.(*net.TCPConn).SetReadBuffer(step/4))
	began := time.Now()
	_, err = fmt.Fprintf(conn, "GET /v1/media/%s/content HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", m.ID, key)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	defer response.Body.Close()
	got, piece := int64(0), int64(0)
	for err == nil {
		<-ticks
		piece, err = io.CopyN(io.Discard, response.Body, step)
		got += piece
	}
	if !errors.Is(err, io.EOF) || response.StatusCode != http.StatusOK || got != int64(len(content)) {
		t.Errorf("%d, %d bytes of %d, and then %v", response.StatusCode, got, len(content), err)
	}
	if took := time.Since(began); took < 3*hurry {
		t.Errorf("it took %v: the server's own time would do", took)
	}
}
