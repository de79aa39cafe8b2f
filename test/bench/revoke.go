// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// benchRevoke measures how soon a real API process refuses a key that was deleted, with 10,000 keys and 500 requests/s.
func benchRevoke(ctx context.Context, r *report, b *bed) error {
	const keys, revocations = 10_000, 300
	namespace, err := b.namespace(ctx)
	if err != nil {
		return err
	}
	plaintexts, err := b.load(ctx, namespace, keys)
	if err != nil {
		return err
	}
	ports, err := kube.FreePorts(2)
	if err != nil {
		return err
	}
	url := "http://" + kube.Address(ports[0])
	p, err := b.run(ctx, "api", "letmepost-api", url+"/readyz", "--environment", "live",
		"--listen-address", kube.Address(ports[0]), "--metrics-bind-address", kube.Address(ports[1]))
	if err != nil {
		return err
	}
	defer func() { _ = p.Stop(context.WithoutCancel(ctx)) }()

	background, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	var failed atomic.Int64
	load.Go(func() { requestsPerSecond(background, 500, url, plaintexts[revocations:], &failed) })
	sent, observed, err := b.revokeAll(ctx, namespace, url, plaintexts[:revocations])
	stop()
	load.Wait()
	if err != nil {
		return err
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d requests with keys that nobody revoked were refused", n)
	}
	basis := fmt.Sprintf("%d revocations, 10,000 keys, 500 requests/s", revocations)
	r.plain("revoke: DELETE returned -> 401, p50", milliseconds(percentile(observed, 50)), " ms", basis)
	r.atMost("revoke: DELETE returned -> 401, p99", milliseconds(percentile(observed, 99)), 50, " ms", basis)
	r.plain("revoke: DELETE sent -> 401, p50", milliseconds(percentile(sent, 50)), " ms", basis)
	r.plain("revoke: DELETE sent -> 401, p99", milliseconds(percentile(sent, 99)), " ms", basis)
	return nil
}

// revokeAll deletes keys one after another, and after each asks with it until it is refused.
func (b *bed) revokeAll(ctx context.Context, namespace, url string, plaintexts []string) (sent, observed []time.Duration, err error) {
	for i, plaintext := range plaintexts {
		if status, err := whoamiStatus(ctx, url, plaintext); err != nil || status != http.StatusOK {
			return nil, nil, fmt.Errorf("before its deletion, key %d was answered %d: %w", i, status, err)
		}
		began := time.Now()
		k := &v1alpha1.ApiKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("loaded-%d", i)}}
		if err := b.client.Delete(ctx, k); err != nil {
			return nil, nil, err
		}
		returned := time.Now()
		for {
			status, err := whoamiStatus(ctx, url, plaintext)
			if err != nil {
				return nil, nil, err
			}
			if status == http.StatusUnauthorized {
				break
			}
		}
		refused := time.Now()
		sent, observed = append(sent, refused.Sub(began)), append(observed, refused.Sub(returned))
	}
	return sent, observed, nil
}

// requestsPerSecond asks with one key after another until ctx ends.
func requestsPerSecond(ctx context.Context, rate int, url string, plaintexts []string, failed *atomic.Int64) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		status, err := whoamiStatus(ctx, url, plaintexts[i%len(plaintexts)])
		if ctx.Err() == nil && (err != nil || status != http.StatusOK) {
			failed.Add(1)
		}
	}
}

func whoamiStatus(ctx context.Context, url, plaintext string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/whoami", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+plaintext)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
