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
	"path/filepath"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/gate"
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
	with, err := nginx.run(ctx, filepath.Join(dir, "with"), asked.address, service.address, true)
	if err != nil {
		return err
	}
	defer with.stop()
	without, err := nginx.run(ctx, filepath.Join(dir, "without"), asked.address, service.address, false)
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
