// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// benchGateMemory measures the resident memory of a gate, freshly started, before an apiserver that is played. Section
// memory has the same at 100,000 keys of a real one.
func benchGateMemory(ctx context.Context, r *report) (err error) {
	dir, err := os.MkdirTemp("", "lmp-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, c := range []struct {
		keys   int
		target float64
	}{{100_000, gateMemoryTarget}, {1_000_000, 450}} {
		m, took, err := gateMemory(ctx, dir, c.keys)
		if err != nil {
			return fmt.Errorf("a gate with %d keys: %w", c.keys, err)
		}
		r.atMost(fmt.Sprintf("gate: resident, %s keys", thousands(c.keys)), m.rest, c.target, " MB", fmt.Sprintf(
			"peak %.0f MB while it started, which took %.0f s; the apiserver is played", m.peak, took.Seconds()))
	}
	return nil
}

// gateMemory starts a gate, and measures it when it has come to rest. It returns how long it took to serve, too.
func gateMemory(ctx context.Context, dir string, keys int) (m footprint, took time.Duration, err error) {
	server, err := play(keys)
	if err != nil {
		return m, 0, err
	}
	defer server.Close()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := server.kubeconfig(kubeconfig); err != nil {
		return m, 0, err
	}
	ports, err := kube.FreePorts(3)
	if err != nil {
		return m, 0, err
	}
	began := time.Now()
	// The Lease is long for a list that takes its time here, where the apiserver makes up a million keys beside it.
	p, err := kube.Run(kube.Command{
		Name: "gate", Path: kube.Path("bin/gate"), Env: kube.MinimalEnv(), Log: filepath.Join(dir, "gate.log"),
		Args: []string{
			"--kubeconfig", kubeconfig, "--lease-duration", "60s", "--listen-address", kube.Address(ports[0]),
			"--grpc-listen-address", kube.Address(ports[1]), "--metrics-bind-address", kube.Address(ports[2]),
		},
	})
	if err != nil {
		return m, 0, err
	}
	defer func() { p.Kill(); <-p.Done() }()
	if err := kube.WaitReady(ctx, http.DefaultClient, "http://"+kube.Address(ports[0])+"/readyz", p); err != nil {
		return m, 0, err
	}
	took = time.Since(began)
	progress("the gate has %d keys after %s; waiting until it is at rest", keys, took.Round(time.Second))
	if !retry.Pause(ctx, memoryRest) {
		return m, 0, ctx.Err()
	}
	m, err = footprintOf(p.PID())
	return m, took, err
}

// thousands writes a number as people do.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
