// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
)

// patience is how long a test waits for what must come. It is never waited for in a test that passes.
const patience = time.Minute

// process is a Run under test.
type process struct {
	api, admin string // base URLs
	stop       context.CancelFunc
	ended      chan error

	mu     sync.Mutex
	events []string
}

func (p *process) note(event string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, event)
}

func (p *process) noted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.events...)
}

// start runs api, with an admin server whose /readyz follows Draining and a Background that notes its end.
func start(t *testing.T, api http.Handler, mods ...func(*Options)) *process {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &process{stop: stop, ended: make(chan error, 1)}
	draining := new(atomic.Bool)
	bound := make(chan struct{})
	o := Options{
		API: api, APIAddress: "127.0.0.1:0",
		Admin: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if draining.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}),
		AdminAddress: "127.0.0.1:0",
		Background:   func(ctx context.Context) { <-ctx.Done(); p.note("background ends") },
		Draining:     draining,
		DrainTimeout: patience,
		Limits:       Limits{Clock: clock.RealClock{}},
		Logger:       slog.New(slog.DiscardHandler),
		Listening: func(api, admin net.Addr) {
			p.api, p.admin = "http://"+api.String(), "http://"+admin.String()
			close(bound)
		},
	}
	for _, mod := range mods {
		mod(&o)
	}
	go func() { p.ended <- Run(ctx, o) }()
	t.Cleanup(stop)
	select {
	case <-bound:
	case err := <-p.ended:
		t.Fatal(err)
	}
	return p
}

func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		t.Fatal("Run does not return")
		return nil
	}
}

func status(url string) int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.After(patience); !is(); {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// blocking is a handler whose requests to /slow run until released.
func blocking() (handler http.Handler, running chan struct{}, release chan struct{}) {
	running, release = make(chan struct{}, 1), make(chan struct{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			running <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "whole")
	}), running, release
}

func TestDrainOrder(t *testing.T) {
	handler, running, release := blocking()
	var p *process
	p = start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		if r.URL.Path == "/slow" {
			p.note("request ends") // and not when its caller has the answer, which may be a while later
		}
	}), func(o *Options) { o.DrainDelay = 100 * time.Millisecond })
	if got := status(p.admin); got != http.StatusOK {
		t.Fatalf("readiness before: %d", got)
	}
	slow := make(chan string)
	go func() {
		response, err := http.Get(p.api + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		slow <- fmt.Sprint(string(body), err)
	}()
	<-running

	p.stop()
	eventually(t, "readiness turns 503", func() bool { return status(p.admin) == http.StatusServiceUnavailable })
	eventually(t, "the API takes no more", func() bool { return status(p.api) == 0 })
	if got := status(p.admin); got != http.StatusServiceUnavailable {
		t.Errorf("the admin server while the API drains: %d", got)
	}
	if events := p.noted(); len(events) != 0 {
		t.Errorf("while a request is running: %v", events)
	}
	close(release)
	if got := <-slow; got != "whole<nil>" {
		t.Errorf("the request that was running: %s", got)
	}
	if err := p.wait(t); err != nil {
		t.Errorf("an orderly stop is no error: %v", err)
	}
	if diff := cmp.Diff([]string{"request ends", "background ends"}, p.noted()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if got := status(p.admin); got != 0 {
		t.Errorf("the admin server afterwards: %d", got)
	}
}

// TestRequestsAreTakenDuringTheDelay has one that lasts for longer than the test, however slow the machine is.
func TestRequestsAreTakenDuringTheDelay(t *testing.T) {
	handler, _, _ := blocking()
	p := start(t, handler, func(o *Options) { o.DrainDelay = time.Hour })
	p.stop()
	eventually(t, "readiness turns 503", func() bool { return status(p.admin) == http.StatusServiceUnavailable })
	if got := status(p.api); got != http.StatusOK {
		t.Errorf("a new request after readiness turned and before the delay has passed: %d", got)
	}
}

func TestStuckRequestIsCutOff(t *testing.T) {
	handler, running, release := blocking()
	defer close(release)
	p := start(t, handler, func(o *Options) { o.DrainTimeout = 50 * time.Millisecond })
	go func() { _ = status(p.api + "/slow") }()
	<-running
	p.stop()
	if err := p.wait(t); err == nil || !strings.Contains(err.Error(), "the API: requests still running after 50ms") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"background ends"}, p.noted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTakenPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// An address of this process's own: somebody else could be given the port at one that all use, once it is free.
	pid := os.Getpid()
	free, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff))
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for _, c := range []struct{ name, api, admin, want string }{
		{"the API's", taken.Addr().String(), "127.0.0.1:0", "listen for the API: listen tcp " + taken.Addr().String()},
		{"the admin server's", free.Addr().String(), taken.Addr().String(), "listen for metrics and probes: listen tcp " + taken.Addr().String()},
	} {
		err := Run(context.Background(), Options{APIAddress: c.api, AdminAddress: c.admin, Draining: new(atomic.Bool), Limits: Limits{Clock: clock.RealClock{}}, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s port is taken: %v", c.name, err)
		}
	}
	again, err := net.Listen("tcp", free.Addr().String())
	if err != nil {
		t.Fatalf("the API's listener was left open: %v", err)
	}
	again.Close()
}

// A listener that breaks ends the process, in order, instead of leaving a half of it.
func TestBrokenListener(t *testing.T) {
	s, err := listen(context.Background(), "the API", "127.0.0.1:0", http.NotFoundHandler(), nil, Limits{Clock: clock.RealClock{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.listener.Close()
	failed := make(chan error, 1)
	s.serve(failed)
	if err := <-failed; !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(err.Error(), "serve the API: ") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsStarReachesTheHandler(t *testing.T) {
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.api, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusTeapot {
		t.Errorf("got %d", response.StatusCode)
	}
}

// Whoever does not send the whole of a request in time must still be able to be told so.
func TestThereIsTimeToAnswerAfterSlowReading(t *testing.T) {
	s, err := NewServer(http.NotFoundHandler(), Limits{Clock: clock.RealClock{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if s.WriteTimeout < s.ReadTimeout+time.Second {
		t.Errorf("%v to write, %v to read", s.WriteTimeout, s.ReadTimeout)
	}
}
