// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// caller is a connection to an API.
type caller struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, url string) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(clock.RealClock{}.Now().Add(patience))
	return &caller{conn, bufio.NewReader(conn)}
}

// get asks for a path and returns the status; 0: the connection is closed.
func (c *caller) get(path string) int {
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	status, _ := c.answer()
	return status
}

func (c *caller) answer() (int, http.Header) {
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, nil
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if response.Close {
		response.Header.Set("Connection", "close") // which ReadResponse has taken out
	}
	return response.StatusCode, response.Header
}

// few is an API that takes four connections.
func few(registry *prometheus.Registry) func(*Options) {
	return func(o *Options) {
		o.Limits = Limits{Connections: 4, Clock: clock.RealClock{}, Busy: []byte(`{"error":{}}`), Registerer: registry}
	}
}

// A header is taken up to its bound, whatever it is made of, and whoever sends more is told so, although they send all
// of it before they read.
func TestHeadersAreBounded(t *testing.T) {
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	for _, base := range []string{p.api, p.admin} {
		for size, fits := range map[int]bool{1000: true, headerBytes: true, headerBytes + 1: false, 1 << 20: false, 4 << 20: false} {
			for _, line := range []string{"", "X: y\r\n", "Authorization: Bearer x\r\n"} {
				text := "GET / HTTP/1.1\r\nHost: localhost\r\n"
				if line != "" {
					text += strings.Repeat(line, (size-100)/len(line))
				}
				text += "X: "
				text += strings.Repeat("x", size-len(text)-len("\r\n\r\n")) + "\r\n\r\n"
				c := dial(t, base)
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatalf("%d bytes: the connection broke while they were sent: %v", size, err)
				}
				if got, _ := c.answer(); (got == http.StatusRequestHeaderFieldsTooLarge) == fits || got == 0 {
					t.Errorf("%d bytes, of %q: %d", len(text), line, got)
				}
				c.Close()
			}
		}
	}
}

func TestHeadersAreBoundedInHTTP2(t *testing.T) {
	issued := newIssuer(t).issue(t, 1)
	p := start(t, http.NotFoundHandler(), func(o *Options) { o.Certificate = issued.load(t) })
	for size, want := range map[int]int{10 << 10: http.StatusNotFound, headerBytes + 1: http.StatusRequestHeaderFieldsTooLarge} {
		transport := &http.Transport{TLSClientConfig: issued.trusted(), ForceAttemptHTTP2: true}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.secure(), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Filler", strings.Repeat("x", size))
		response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
		switch {
		// The client knows the bound from the server's SETTINGS, and may refuse by itself.
		case err != nil && want == http.StatusRequestHeaderFieldsTooLarge:
		case err != nil:
			t.Errorf("%d bytes: %v", size, err)
		default:
			response.Body.Close()
			if response.StatusCode != want || response.ProtoMajor != 2 {
				t.Errorf("%d bytes: %d by %s", size, response.StatusCode, response.Proto)
			}
		}
		transport.CloseIdleConnections()
	}
}

// TestVictims says which connections are closed for others: those that wait for nothing go first, then answered ones
// that still send, then headers that don't come to their end, and of each the oldest. Those of which this process has
// not read what is there count as new, and so go last.
func TestVictims(t *testing.T) {
	l := &listener{}
	l.accepted.Store(7)
	for i, c := range []struct {
		activity activity
		since    uint64
		sent     string // and not read
	}{
		{served, 1, ""},
		{sending, 3, ""},
		{idle, 5, ""},
		{lingers, 2, ""},
		{idle, 4, ""},
		{sending, 6, ""},
		{idle, 1, "GET /"},
		{sending, 2, "GET /"},
	} {
		conn, client := pair(t)
		l.open = append(l.open, &connection{TCPConn: conn, listener: l, place: i})
		l.open[i].state.Store(c.since<<2 | uint64(c.activity))
		if _, err := io.WriteString(client, c.sent); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was sent is there", func() bool { return l.open[i].unread() == (c.sent != "") })
	}
	all := slices.Clone(l.open)
	for _, want := range [][]int{{4}, {2}, {3}, {1}, {5}, {6, 7}, {6, 7}} {
		victim, _ := l.victim()
		if got := slices.Index(all, victim); !slices.Contains(want, got) {
			t.Fatalf("number %d goes, want one of %d", got, want)
		}
		l.remove(victim)
	}
	if victim, _ := l.victim(); victim != nil {
		t.Error("one that is being answered is closed for another one")
	}
}

// pair is a connection, and its other end.
func pair(t *testing.T) (here, there *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server.(*net.TCPConn), client.(*net.TCPConn)
}

// Whoever holds connections open keeps nobody out.
func TestConnectionsMakeRoom(t *testing.T) {
	handler, running, release := blocking()
	registry := prometheus.NewRegistry()
	var asked sync.Map // connections by which requests came
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Context().Value(connectionKey{}), true)
		handler.ServeHTTP(w, r)
	}), few(registry))
	// A client has its answer before the server has noted that the connection is idle: before that, it makes no room.
	idleOnes := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " connections are idle"), func() bool {
			found := 0
			asked.Range(func(c, _ any) bool {
				if activity(c.(*connection).state.Load()&3) == idle {
					found++
				}
				return true
			})
			return found == n
		})
	}
	slow := func() *caller {
		t.Helper()
		c := dial(t, p.api)
		_, _ = io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
		select {
		case <-running:
		case <-time.After(patience):
			t.Fatal("there was no room")
		}
		return c
	}
	serving := []*caller{slow()}
	header := dial(t, p.api)
	_, _ = io.WriteString(header, "GET / HTTP/1.1\r\nHost: ")
	old, young := dial(t, p.api), dial(t, p.api)
	for _, c := range []*caller{old, young} {
		if got := c.get("/"); got != http.StatusOK {
			t.Fatal(got)
		}
	}
	idleOnes(2)
	closed := make(chan *caller, 3)
	for _, c := range []*caller{old, young, header} {
		go func() {
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("got %d bytes, and was not closed", n)
			}
			closed <- c
		}()
	}
	for i := range 3 {
		serving = append(serving, slow())
		// Either of the two may have been noted first.
		if first := <-closed; (first == header) != (i == 2) {
			t.Errorf("connection %d of those that made room was an idle one: %t", i, first != header)
		}
	}
	// All are being answered: now somebody is told to come back.
	full := dial(t, p.api)
	_, _ = io.WriteString(full, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if got, h := full.answer(); got != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
		t.Errorf("%d %v", got, h)
	}
	if got := status(p.admin); got != http.StatusOK {
		t.Errorf("the admin server: %d", got)
	}
	close(release)
	for i, c := range serving {
		if got, _ := c.answer(); got != http.StatusOK {
			t.Errorf("%d, which was being answered: %d", i, got)
		}
	}
	idleOnes(len(serving))
	if got := dial(t, p.api).get("/"); got != http.StatusOK {
		t.Errorf("afterwards: %d", got)
	}
	want := map[string]float64{
		"lmp_http_connections_shed_total/idle":   3, // and one of serving, for the last
		"lmp_http_connections_shed_total/header": 1, "lmp_http_connections_shed_total/answered": 0,
		"lmp_http_overload_refusals_total/connections": 1, "lmp_http_overload_refusals_total/requests": 0,
		"lmp_http_overload_refusals_total/memory": 0, "lmp_http_connections/": 4,
	}
	if diff := cmp.Diff(want, values(t, registry)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// One connection of HTTP/2 has many requests.
func TestRequestsAreBounded(t *testing.T) {
	handler, running, release := blocking()
	registry := prometheus.NewRegistry()
	issued := newIssuer(t).issue(t, 1)
	p := start(t, handler, few(registry), func(o *Options) { o.Certificate = issued.load(t) })
	transport := &http.Transport{TLSClientConfig: issued.trusted(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	var answers sync.WaitGroup
	for range 4 {
		answers.Go(func() {
			response, err := client.Get(p.secure() + "/slow")
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
		})
		<-running
	}
	response, err := client.Get(p.secure())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || string(body) != `{"error":{}}` {
		t.Errorf("%d %v %s", response.StatusCode, response.Header, body)
	}
	close(release)
	answers.Wait()
	if got := values(t, registry)["lmp_http_overload_refusals_total/requests"]; got != 1 {
		t.Errorf("%v are counted", got)
	}
}

// A process that is short of memory takes nothing on until it has some again.
func TestNothingIsTakenOnWithoutMemory(t *testing.T) {
	short := new(atomic.Bool)
	handler, _, _ := blocking()
	p := start(t, handler, func(o *Options) { o.Limits.Overloaded = short.Load })
	for _, want := range []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusOK} {
		short.Store(want != http.StatusOK)
		if got := status(p.api); got != want {
			t.Errorf("%d, want %d", got, want)
		}
		if got := status(p.admin); got != http.StatusOK {
			t.Errorf("a probe: %d", got)
		}
	}
}

// values are those of the metrics, by name and label.
func values(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				label = l.GetValue()
			}
			all[f.GetName()+"/"+label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return all
}
