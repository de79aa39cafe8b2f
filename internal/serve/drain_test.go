// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Each answer of a server that drains is the last one on its connection, in either protocol.
func TestConnectionsAreClosedInTheDrain(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "whole") })
			issued := newIssuer(t).issue(t, 1)
			p := start(t, handler, func(o *Options) {
				o.DrainDelay = patience // the test ends it
				o.Certificate = issued.load(t)
			})
			transport := &http.Transport{TLSClientConfig: issued.trusted(), ForceAttemptHTTP2: protocol == "HTTP/2.0"}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: patience}
			post := func() (reused bool) {
				t.Helper()
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.secure(), strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if body, err := io.ReadAll(response.Body); err != nil || string(body) != "whole" || response.Proto != protocol {
					t.Fatalf("%s %q %v", response.Proto, body, err)
				}
				return reused
			}
			post()
			if !post() {
				t.Fatal("the connection is not kept open while nobody drains")
			}
			p.stop()
			eventually(t, "readiness turns 503", func() bool { return status(p.admin) == http.StatusServiceUnavailable })
			if !post() {
				t.Error("the connection was closed before its caller was told")
			}
			eventually(t, "the next request has a new connection", func() bool { return !post() }) // a GOAWAY takes its way
			if protocol == "HTTP/1.1" && post() {
				t.Error("a connection had two requests in the drain")
			}
		})
	}
}

// TestDrainUnderLoad is a rolling update: callers keep connections open and POST, which nobody may send twice, as often
// as they can, while one replica drains and the load balancer sends new connections to another one. None sees an error,
// if they have all moved when the delay has passed. How long that takes is up to the machine.
func TestDrainUnderLoad(t *testing.T) {
	delay := 300 * time.Millisecond
	for !drainUnderLoad(t, delay) {
		if delay *= 4; delay > patience {
			t.Fatal("the load does not move while it is told to")
		}
	}
}

// balancer opens connections to one of several replicas, and counts what it has open to each, or is about to.
type balancer struct {
	mu   sync.Mutex
	to   *process
	open map[*process]int
}

func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	b.mu.Lock()
	to := b.to
	b.open[to]++
	b.mu.Unlock()
	closed := sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open[to]--
	})
	conn, err := new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(to.api, "http://"))
	if err != nil {
		closed()
		return nil, err
	}
	return balanced{conn, closed}, nil
}

func (b *balancer) move(to *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = to
}

func (b *balancer) opened(to *process) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[to]
}

type balanced struct {
	net.Conn
	closed func()
}

func (c balanced) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// drainUnderLoad tells whether the load had moved before the delay had passed: otherwise it shows nothing.
func drainUnderLoad(t *testing.T, delay time.Duration) (moved bool) {
	t.Helper()
	var served [2]atomic.Int64
	replica := func(i int) *process {
		return start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			served[i].Add(1)
			w.WriteHeader(http.StatusCreated)
		}), func(o *Options) { o.DrainDelay = delay })
	}
	old, young := replica(0), replica(1)
	between := &balancer{to: old, open: map[*process]int{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 32, DialContext: between.dial}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	failed := make(chan error, 16)
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := post(client); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	eventually(t, "the load is there", func() bool { return served[0].Load() > 200 })
	before, began := served[0].Load(), time.Now()
	old.stop()
	eventually(t, "it is not ready any more", func() bool { return status(old.admin) != http.StatusOK }) // or has ended
	between.move(young)
	eventually(t, "nobody has a connection to the old one", func() bool {
		transport.CloseIdleConnections() // one that nobody uses is closed by nobody
		return between.opened(old) == 0
	})
	moved = time.Since(began) < delay
	if err := old.wait(t); err != nil {
		t.Errorf("an orderly stop is no error: %v", err)
	}
	after := served[1].Load()
	eventually(t, "the load has moved", func() bool { return served[1].Load() > after+200 || len(failed) > 0 })
	stop()
	callers.Wait()
	close(failed)
	for err := range failed {
		if moved {
			t.Error(err)
		}
	}
	t.Logf("%d requests before, %d more by the old replica, %d by the new one", before, served[0].Load()-before, served[1].Load())
	return moved
}

func post(client *http.Client) error {
	response, err := client.Post("http://api.example/v1/posts", "application/json", io.NopCloser(strings.NewReader("{}")))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// What a TLS port is asked by those who look for open ports is no complaint.
func TestHandshakeErrorsAreNoComplaint(t *testing.T) {
	issued := newIssuer(t).issue(t, 1)
	var log logBuffer
	p := start(t, http.NotFoundHandler(), func(o *Options) {
		o.Certificate = issued.load(t)
		o.Logger = log.logger()
	})
	address := strings.TrimPrefix(p.api, "http://")
	if _, err := (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "localhost"}}).DialContext(t.Context(), "tcp", address); err == nil {
		t.Fatal("a caller trusts whoever comes")
	}
	old := &tls.Config{RootCAs: issued.trusted().RootCAs, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if _, err := (&tls.Dialer{Config: old}).DialContext(t.Context(), "tcp", address); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	eventually(t, "both are noted", func() bool { return strings.Count(log.String(), "TLS handshake error") == 2 })
	if text := log.String(); strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") || strings.Count(text, `"level":"DEBUG"`) != 2 {
		t.Errorf("logged:\n%s", text)
	}
	p.stop()
	if err := p.wait(t); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
