// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// benchGateRefusal measures how soon a revoked key is refused by nginx, with three real gates, each asked by an nginx
// of its own: whichever gate a proxy asks, it is refused there by then.
func benchGateRefusal(ctx context.Context, r *report, b *bed) (err error) {
	loaded, err := b.loadedKeys(ctx, keysLoaded)
	if err != nil {
		return err
	}
	progress("starting the controller, and %d gates with an nginx each", replicas)
	service, err := serveOn(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "0")
	}))
	if err != nil {
		return err
	}
	defer service.stop()
	f := &fleet{stop: func() {}}
	defer func() { f.stop() }()
	for range replicas {
		if err := b.addGate(ctx, f, service.address); err != nil {
			return err
		}
	}
	p, metrics, err := b.runController(ctx)
	if p != nil {
		defer func() { _ = p.Stop(context.WithoutCancel(ctx)) }()
	}
	if err != nil {
		return err
	}
	f.metrics = metrics
	if err := f.rest(ctx, keysLoaded); err != nil {
		return err
	}
	revoked, rest := loaded.split(refusals)
	t := f.traffic(ctx, requestRate, rest.plaintexts)
	defer func() { err = errors.Join(err, t.stop()) }()
	rate := t.measure()
	var refused []time.Duration
	for i, plaintext := range revoked.plaintexts {
		b.breathe()
		everywhere, _, err := b.refuse(ctx, f, revoked.key(i), plaintext)
		if err != nil {
			return fmt.Errorf("revocation %d: %w", i, err)
		}
		refused = append(refused, everywhere)
		r.series.Refused = append(r.series.Refused, milliseconds(everywhere))
	}
	basis := fmt.Sprintf("%d revocations, 10,000 keys, %.0f requests/s through nginx", len(refused), rate())
	r.plain("gate: DELETE sent -> refused at the proxy, 3 gates, p50", milliseconds(percentile(refused, 50)), " ms", basis)
	r.atMost("gate: DELETE sent -> refused at the proxy, 3 gates, p99", milliseconds(percentile(refused, 99)), 50, " ms",
		basis)
	return nil
}

// addGate adds a gate to a fleet, with an nginx that asks it: the URL is the proxy's.
func (b *bed) addGate(ctx context.Context, f *fleet, service string) error {
	ports, err := kube.FreePorts(3)
	if err != nil {
		return err
	}
	p, err := b.run(ctx, "gate", "letmepost-gate", "http://"+kube.Address(ports[0])+"/readyz",
		"--listen-address", kube.Address(ports[0]), "--grpc-listen-address", kube.Address(ports[1]),
		"--metrics-bind-address", kube.Address(ports[2]), "--default-rate-limit", "none")
	if p != nil {
		before := f.stop
		f.stop = func() { before(); _ = p.Stop(context.WithoutCancel(ctx)) }
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(b.dir, fmt.Sprintf("nginx-%d", len(f.urls)))
	proxy, err := nginx.run(ctx, dir, kube.Address(ports[0]), service, true)
	if err != nil {
		return err
	}
	before := f.stop
	f.stop = func() { proxy.stop(); before() }
	f.urls = append(f.urls, "http://"+proxy.address)
	return nil
}
