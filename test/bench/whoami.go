// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/serve"
)

const whoamiPath = "/v1/whoami"

// connections are kept alive, each with one request after another on it.
const connections = 16

// benchWhoami measures GET /v1/whoami over loopback beside a bare net/http handler that writes the same bytes. The
// client is as lean as it can be, because it shares the machine: what it costs would count for both sides and hide a
// difference.
func benchWhoami(ctx context.Context, r *report) error {
	stage, err := newStage(ctx, 1000)
	if err != nil {
		return err
	}
	defer stage.close()
	api, authenticator, plaintext := stage.api, stage.authenticator, stage.plaintext
	ours, err := serveOn(ctx, api)
	if err != nil {
		return err
	}
	defer ours.stop()
	sample, err := ours.sample(ctx, plaintext)
	if err != nil {
		return err
	}
	bare, err := serveOn(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(sample)
	}))
	if err != nil {
		return err
	}
	defer bare.stop()

	var ratios, rates, registry, shares []float64
	for range rounds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		without, err := bare.load(ctx, whoamiPath, plaintext, 2*time.Second)
		if err != nil {
			return err
		}
		before := processorTime()
		with, err := ours.load(ctx, whoamiPath, plaintext, 2*time.Second)
		if err != nil {
			return err
		}
		request := float64(processorTime()-before) / (2 * with)
		extra := registryCost(ctx, authenticator, plaintext)
		ratios, rates = append(ratios, with/without), append(rates, with)
		registry, shares = append(registry, extra), append(shares, 100*extra/request)
	}
	r.atLeast("whoami: requests/s / bare net/http handler", median(ratios), 0.85, "x",
		fmt.Sprintf("%.0f requests/s, client on the same machine", median(rates)))
	r.atMost("in-flight registry: share of a GET /v1/whoami", median(shares), 3, "%",
		fmt.Sprintf("%.0f ns of its processor time, client included", median(registry)))
	return nil
}

// processorTime is what this process has used so far, on all processors.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// registryCost is what a request's being in the registry takes, in nanoseconds of processor time: Admit and End less
// Known, which finds the key and does no more, on all processors at once, so that what they cost each other is in it,
// and with the memory that a flight takes up in its request. That overstates it: how the key is judged is in it, too.
// Requests a second with and without would be the plain thing to measure. But they differ by 3 % from one second to
// the next with nothing changed at all, and this by a few nanoseconds.
func registryCost(ctx context.Context, a *authn.Authenticator, plaintext string) float64 {
	header := []string{"Bearer " + plaintext}
	without, with := math.Inf(1), math.Inf(1)
	for range 5 {
		without = min(without, onAllProcessors(func() {
			if a.Known(header).Nobody() {
				panic("bench: the key is not known")
			}
		}))
		with = min(with, onAllProcessors(func() {
			f := new(authn.Flight)
			if err := a.Admit(ctx, time.Now(), header, f); err != nil {
				panic(err)
			}
			if err := f.End(); err != nil {
				panic(err)
			}
		}))
	}
	return with - without
}

// onAllProcessors returns the nanoseconds of processor time that do takes, when all processors do it.
func onAllProcessors(do func()) float64 {
	const each = 100_000
	processors := runtime.GOMAXPROCS(0)
	before := processorTime()
	var running sync.WaitGroup
	for range processors {
		running.Go(func() {
			for range each {
				do()
			}
		})
	}
	running.Wait()
	return float64(processorTime()-before) / float64(each*processors)
}

type server struct {
	address string
	stop    func()
}

func serveOn(ctx context.Context, handler http.Handler) (*server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s, err := serve.NewServer(handler, serve.Limits{Clock: clock.RealClock{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	go func() { _ = s.Serve(listener) }()
	return &server{address: listener.Addr().String(), stop: func() { _ = s.Close() }}, nil
}

// sample returns the body of one response.
func (s *server) sample(ctx context.Context, plaintext string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/v1/whoami", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+plaintext)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("whoami: %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// load asks for path, and returns the requests answered with 200 in a second.
func (s *server) load(ctx context.Context, path, plaintext string, length time.Duration) (float64, error) {
	var answered atomic.Int64
	var failed atomic.Pointer[error]
	var running sync.WaitGroup
	began := time.Now()
	for range connections {
		running.Go(func() {
			if err := s.hammer(ctx, get(path, plaintext), began.Add(length), &answered); err != nil {
				failed.Store(&err)
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(answered.Load()) / time.Since(began).Seconds(), nil
}

func (s *server) hammer(ctx context.Context, request []byte, until time.Time, answered *atomic.Int64) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for time.Now().Before(until) {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := skipResponse(in); err != nil {
			return err
		}
		answered.Add(1)
	}
	return nil
}

// get is a request as it is sent.
func get(path, plaintext string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + plaintext + "\r\n\r\n")
}

// skipResponse reads one response of known length, and insists on 200.
func skipResponse(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answered %q", line)
	}
	length := 0
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, d := range bytes.TrimSpace(digits) {
				length = 10*length + int(d-'0')
			}
		}
	}
	_, err = in.Discard(length)
	return err
}
