// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// Targets of resident memory at memoryKeys keys, in MB of a million bytes.
const (
	memoryKeys             = 100_000
	controllerMemoryTarget = 250
	apiMemoryTarget        = 150
	gateMemoryTarget       = 100
)

// memoryRest is how long a process has nothing to do before it is said to be at rest: what it has freed goes back to
// the machine little by little.
const memoryRest = 30 * time.Second

// benchMemory measures the resident memory of a controller, of an API process and of a gate, each freshly started:
// without keys, and with 100,000 that were minted before, as after an upgrade.
func benchMemory(ctx context.Context, r *report, b *bed) error {
	if err := b.benchMemoryOf(ctx, r, 0); err != nil {
		return err
	}
	namespace, err := b.namespace(ctx)
	if err != nil {
		return err
	}
	if err := b.loadMinted(ctx, namespace, memoryKeys); err != nil {
		return err
	}
	return b.benchMemoryOf(ctx, r, memoryKeys)
}

// benchMemoryOf measures all of them, one after the other.
func (b *bed) benchMemoryOf(ctx context.Context, r *report, keys int) error {
	for _, p := range []struct {
		name   string
		start  func(context.Context, int) (*kube.Process, error)
		target float64
	}{
		{"API", b.startAPI, apiMemoryTarget},
		{"gate", b.startGate, gateMemoryTarget},
		{"controller", b.startController, controllerMemoryTarget},
	} {
		m, err := b.memoryOf(ctx, p.start, keys)
		if err != nil {
			return fmt.Errorf("the %s with %d keys: %w", p.name, keys, err)
		}
		basis := fmt.Sprintf("peak %.0f MB; at rest %.0f MB of it its own, the rest its program's file", m.peak, m.own)
		if keys == 0 {
			r.plain("memory: "+p.name+", resident, no keys", m.rest, " MB", basis)
			continue
		}
		r.atMost(fmt.Sprintf("memory: %s, resident, 100,000 keys", p.name), m.rest, p.target, " MB", basis)
		r.plain(fmt.Sprintf("memory: %s, peak while it started", p.name), m.peak, " MB", "")
	}
	return nil
}

// footprint is the memory of a process, in MB.
type footprint struct {
	rest float64 // resident, at rest
	own  float64 // of that: not shared with the file of the program
	peak float64 // the most that was ever resident
}

// memoryOf starts a process, lets it do its work and come to rest, measures it and stops it.
func (b *bed) memoryOf(
	ctx context.Context,
	start func(context.Context, int) (*kube.Process, error),
	keys int,
) (footprint, error) {
	p, err := start(ctx, keys)
	if p != nil {
		defer func() { _ = p.Stop(context.WithoutCancel(ctx)) }()
	}
	if err != nil {
		return footprint{}, err
	}
	atOnce, err := footprintOf(p.PID())
	if err != nil {
		return footprint{}, err
	}
	if !retry.Pause(ctx, memoryRest) {
		return footprint{}, ctx.Err()
	}
	m, err := footprintOf(p.PID())
	progress(
		"%s with %d keys: resident %.1f MB when its work was done, %.1f MB after %s, peak %.1f MB",
		p.Name(),
		keys,
		atOnce.rest,
		m.rest,
		memoryRest,
		m.peak,
	)
	return m, err
}

func (b *bed) startAPI(ctx context.Context, _ int) (*kube.Process, error) {
	ports, err := kube.FreePorts(2)
	if err != nil {
		return nil, err
	}
	return b.run(
		ctx,
		"api",
		"letmepost-api-live",
		"http://"+kube.Address(ports[1])+"/readyz",
		"--environment",
		"live",
		"--listen-address",
		kube.Address(ports[0]),
		"--metrics-bind-address",
		kube.Address(ports[1]),
		"--data-dir",
		filepath.Join(b.dir, "data"),
	)
}

func (b *bed) startGate(ctx context.Context, _ int) (*kube.Process, error) {
	ports, err := kube.FreePorts(3)
	if err != nil {
		return nil, err
	}
	return b.run(ctx, "gate", "letmepost-gate", "http://"+kube.Address(ports[0])+"/readyz",
		"--listen-address", kube.Address(ports[0]), "--grpc-listen-address", kube.Address(ports[1]),
		"--metrics-bind-address", kube.Address(ports[2]))
}

// startController returns when the controller has looked at all keys.
func (b *bed) startController(ctx context.Context, keys int) (*kube.Process, error) {
	p, metrics, err := b.runController(ctx)
	if err != nil {
		return p, err
	}
	progress("the controller looks at %d keys", keys)
	return p, (&fleet{metrics: metrics}).rest(ctx, keys)
}

func footprintOf(pid int) (f footprint, err error) {
	for name, field := range map[string]*float64{"VmRSS": &f.rest, "RssAnon": &f.own, "VmHWM": &f.peak} {
		bytes, err := memory(strconv.Itoa(pid), name)
		if err != nil {
			return f, err
		}
		*field = float64(bytes) / 1e6
	}
	return f, nil
}

// memory reads a line of /proc/PROCESS/status, in bytes.
func memory(process, name string) (int64, error) {
	path := "/proc/" + process + "/status"
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name+":" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, path)
}
