// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/gate"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// benchNginx measures requests through a real nginx, configured as docs/examples/guard says, beside the same nginx that
// asks nobody.
func benchNginx(ctx context.Context, r *report, g *gate.Gate, plaintext string) (err error) {
	asked, err := serveOn(ctx, gate.NewForward(g))
	if err != nil {
		return err
	}
	defer asked.stop()
	service, err := serveOn(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "0")
	}))
	if err != nil {
		return err
	}
	defer service.stop()
	dir, err := os.MkdirTemp("", "lmp-bench-nginx-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	example, err := os.ReadFile(kube.Path("docs/examples/guard/nginx.conf"))
	if err != nil {
		return err
	}
	guarded := strings.NewReplacer(
		"letmepost-gate.letmepost-system.svc:80", asked.address, "your-service:80", service.address,
	).Replace(string(example))
	with, err := runNginx(ctx, filepath.Join(dir, "with"), guarded)
	if err != nil {
		return err
	}
	defer with.stop()
	without, err := runNginx(ctx, filepath.Join(dir, "without"), unguarded(guarded))
	if err != nil {
		return err
	}
	defer without.stop()
	var all [2][]time.Duration
	for range rounds {
		for i, proxy := range []*server{without, with} {
			times, err := proxy.times(ctx, plaintext, 2*time.Second)
			if err != nil {
				return err
			}
			all[i] = append(all[i], times...)
		}
	}
	for _, p := range []float64{50, 99} {
		bare, ours := milliseconds(percentile(all[0], p)), milliseconds(percentile(all[1], p))
		r.plain(fmt.Sprintf("gate: a request through nginx with auth_request, p%g", p), ours, " ms",
			fmt.Sprintf("%.2f ms through the same nginx without; 4 connections, 100,000 keys", bare))
	}
	return nil
}

// unguarded is the configuration without what asks, and without what is made of the answer.
func unguarded(config string) string {
	var kept strings.Builder
	for line := range strings.Lines(config) {
		if !strings.Contains(line, "auth_request ") && !strings.Contains(line, "lmp_") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// runNginx runs one, and returns when it listens.
func runNginx(ctx context.Context, dir, http string) (*server, error) {
	ports, err := kube.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address, config := kube.Address(ports[0]), filepath.Join(dir, "nginx.conf")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	text := "daemon off; pid " + dir + "/pid; error_log stderr; worker_processes 1;\nevents {}\n" +
		"http {\naccess_log off;\nkeepalive_requests 1000000;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += kind + "_temp_path " + dir + "/" + kind + ";\n"
	}
	text += strings.Replace(http, "listen 80;", "listen "+address+";", 1) + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // where Debian has it; hack/proxies.sh installs it
	}
	p, err := kube.Run(kube.Command{
		Name: "nginx", Path: path, Args: []string{"-e", "stderr", "-p", dir, "-c", config},
		Env: kube.MinimalEnv(), Log: filepath.Join(dir, "log"),
	})
	if err != nil {
		return nil, err
	}
	s := &server{address: address, stop: func() { p.Kill(); <-p.Done() }}
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.Done():
			return nil, fmt.Errorf("nginx ended: %s", p.Tail(5))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// times asks over four connections that are kept, and returns how long each request took.
func (s *server) times(ctx context.Context, plaintext string, length time.Duration) ([]time.Duration, error) {
	const workers = 4
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var running sync.WaitGroup
	until := time.Now().Add(length)
	for range workers {
		running.Go(func() {
			times, err := s.timesOfOne(ctx, get("/any", plaintext), until)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, times...), errors.Join(failed, err)
		})
	}
	running.Wait()
	return all, failed
}

func (s *server) timesOfOne(ctx context.Context, request []byte, until time.Time) (times []time.Duration, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for time.Now().Before(until) {
		began := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		if err := skipResponse(in); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
