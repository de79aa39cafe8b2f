// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ header http.Header }

func (w nowhere) Header() http.Header         { return w.header }
func (w nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w nowhere) WriteHeader(int)             {}

func benchFixture(b *testing.B) (f *fixture, plaintext string) {
	b.Helper()
	k, plaintext := live(b)
	f = newFixture(b, []any{k}, byRealTime(b), func(c *parts) {
		c.NewRequestID = func() string { return "0b0e7a51-5d2c-4a55-9a1e-1f2d3c4b5a69" }
	})
	return f, plaintext
}

// BenchmarkWhoami is the handler alone, without net/http around it.
func BenchmarkWhoami(b *testing.B) {
	f, plaintext := benchFixture(b)
	for _, c := range []struct{ name, header string }{
		{"accepted", "Bearer " + plaintext},
		{"malformed", "Bearer nonsense"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/v1/whoami", nil)
			r.Header.Set("Authorization", c.header)
			w := nowhere{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				f.ServeHTTP(w, r)
			}
		})
	}
}

// BenchmarkWhoamiOverLoopback sets the API beside a bare handler that writes the same bytes, turn by turn, so that what
// else the machine does falls on both. The client does next to nothing, so that the ratio is one of servers.
func BenchmarkWhoamiOverLoopback(b *testing.B) {
	f, plaintext := benchFixture(b)
	whoami := f.do(http.MethodGet, "/v1/whoami", plaintext)
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), whoami.Header())
		_, _ = w.Write(whoami.Body.Bytes())
	})
	const callers, turn = 8, 200 * time.Millisecond
	sides := [2]struct {
		clients  []*rawClient
		requests atomic.Int64
	}{}
	for i, handler := range []http.Handler{bare, f} {
		server := httptest.NewServer(handler)
		defer server.Close()
		for range callers {
			sides[i].clients = append(sides[i].clients, newRawClient(b, server.Listener.Addr().String(), plaintext))
		}
	}
	for b.Loop() {
		for i := range sides {
			var callers sync.WaitGroup
			end := time.Now().Add(turn)
			for _, c := range sides[i].clients {
				callers.Go(func() {
					for time.Now().Before(end) {
						c.request(b)
						sides[i].requests.Add(1)
					}
				})
			}
			callers.Wait()
		}
	}
	seconds := float64(b.N) * turn.Seconds()
	b.ReportMetric(float64(sides[0].requests.Load())/seconds, "bare-req/s")
	b.ReportMetric(float64(sides[1].requests.Load())/seconds, "whoami-req/s")
	b.ReportMetric(float64(sides[1].requests.Load())/float64(sides[0].requests.Load()), "ratio")
}

// rawClient sends the same request over one connection, and knows how long the response is.
type rawClient struct {
	conn     net.Conn
	text     []byte
	response []byte
}

func newRawClient(b *testing.B, address, plaintext string) *rawClient {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	c := &rawClient{conn: conn}
	c.text = []byte("GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + plaintext + "\r\n\r\n")
	if _, err := conn.Write(c.text); err != nil {
		b.Fatal(err)
	}
	first := make([]byte, 64<<10)
	n, err := conn.Read(first) // one segment: it is small
	if err != nil || !bytes.HasPrefix(first, []byte("HTTP/1.1 200")) {
		b.Fatalf("%v %s", err, first[:n])
	}
	c.response = first[:n]
	return c
}

func (c *rawClient) request(b *testing.B) {
	if _, err := c.conn.Write(c.text); err != nil {
		b.Error(err)
	}
	if _, err := io.ReadFull(c.conn, c.response); err != nil {
		b.Error(err)
	}
}
