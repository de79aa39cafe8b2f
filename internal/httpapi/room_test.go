// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/serve"
)

// stalled sends a header and the beginning of a body, and nothing more until the test ends it.
func stalled(t *testing.T, address, header, begin string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, header+begin)
	check(t, err)
	return conn
}

// served is an API on a socket, by the server that a process has: it answers before all of a request has come.
func served(t *testing.T, f *fixture) (address string) {
	t.Helper()
	server, err := serve.NewServer(f, serve.Limits{Clock: clock.RealClock{}}, slog.New(slog.DiscardHandler))
	check(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

// One organization holds half of the room at most, with whatever it sends and however many keys, and all of them
// together no more than there is; what others ask for meanwhile is answered, and what was held is given back.
func TestBytesInFlightAreBounded(t *testing.T) {
	f := newFixture(t, nil, byRealTime(t), func(c *parts) { c.BytesInFlight = 8 << 20 })
	address := served(t, f)
	held := func() float64 { return f.counted(t, "lmp_http_bytes_in_flight") }
	whole := `{"text":"` + strings.Repeat("x", 900<<10)
	const most = 8 << 20
	long := func(key string) net.Conn {
		return stalled(t, address, header("/v1/posts", key, "application/json", fmt.Sprint("Content-Length: ", 1<<20)), whole)
	}
	file := func(key string) net.Conn {
		return stalled(t, address, header("/v1/media", key, "multipart/form-data; boundary=b", "Content-Length: 100000"), "--b\r\n")
	}
	answered := func(conn net.Conn) (int, endpoint.ErrorBody, http.Header) {
		t.Helper()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		check(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		check(t, err)
		conn.Close()
		return response.StatusCode, decode[endpoint.ErrorEnvelope](t, string(body)).Error, response.Header
	}
	var open []net.Conn
	hold := func(from func(string) net.Conn, key string) {
		t.Helper()
		before := held()
		open = append(open, from(key))
		eventually(t, "it is counted", func() bool { return held() > before })
	}

	// An organization, by two keys.
	hold(long, f.newKey(t))
	eventually(t, "all that was sent of it is", func() bool { return held() > 2<<20 })
	eventually(t, "it comes to rest", func() bool { return held() > 3<<20 })
	one := held()
	if one > 4<<20 {
		t.Errorf("a body of a megabyte counts for %v", one)
	}
	if status, e, h := answered(long(f.newKey(t))); status != http.StatusTooManyRequests || e.Rule != "organization.bytes_in_flight" || h.Get("Retry-After") == "" {
		t.Errorf("more than a half: %d %+v %v", status, e, h)
	}
	eventually(t, "who is refused holds nothing", func() bool { return held() == one })
	if w := f.do(http.MethodGet, "/v1/whoami", f.newKey(t)); w.Code != http.StatusOK {
		t.Errorf("what holds nothing: %d", w.Code)
	}
	// Others fill what is left, and then nobody gets more.
	other := f.newKey(t, globex)
	for held() <= most/2 {
		hold(file, other)
	}
	third := f.newKey(t, authntest.In("initech", "1171ec00-0000-4000-8000-000000000000"))
	for held() <= most-512<<10 {
		hold(file, third)
	}
	if status, e, h := answered(file(third)); status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
		t.Errorf("more than there is: %d %+v %v", status, e, h)
	}
	if got := held(); got > most {
		t.Errorf("%v bytes are held", got)
	}
	for _, conn := range open {
		conn.Close()
	}
	eventually(t, "all is given back", func() bool { return held() == 0 })
	if of := []float64{f.counted(t, "lmp_http_room_refusals_total", "of", "organization"), f.counted(t, "lmp_http_room_refusals_total", "of", "all")}; of[0] != 1 || of[1] != 1 {
		t.Errorf("refusals counted: %v", of)
	}
}

// Answers that are read slowly are held as well: whoever asks for large ones holds no more than a half.
func TestLargeAnswersAreHeld(t *testing.T) {
	f := newFixture(t, nil, func(c *parts) { c.BytesInFlight = 1 << 20 })
	key := f.newKey(t)
	account := f.connectTo(t, key, "linkedin", "alice")
	for range 10 {
		var targets []string
		for i := range 25 {
			targets = append(targets, targetOf(account, fmt.Sprintf(`,"text":"%d%s"`, i, strings.Repeat("x", 2900))))
		}
		ok[batch](t, f, publication(key, strings.Join(targets, ","), `,"scheduledAt":"`+later+`"`))
	}
	f.refused(t, "a page that is larger than a half", sent{method: http.MethodGet, target: "/v1/posts?limit=200", key: key}, http.StatusTooManyRequests, "organization.bytes_in_flight")
	if w := f.do(http.MethodGet, "/v1/posts?limit=10", key); w.Code != http.StatusOK {
		t.Errorf("a small page: %d", w.Code)
	}
	if got := f.counted(t, "lmp_http_bytes_in_flight"); got != 0 {
		t.Errorf("%v bytes are held by nobody", got)
	}
}
