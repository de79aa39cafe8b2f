// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// fleet is a controller and API replicas, as real processes of their own ServiceAccounts.
type fleet struct {
	urls    []string // of the replicas
	metrics string   // of the controller
	stop    func()
}

// runFleet starts a fleet, and waits until it is at rest: keys is how many ApiKeys there are for the controller to look
// at.
func (b *bed) runFleet(ctx context.Context, replicas, keys int) (_ *fleet, err error) {
	f := &fleet{}
	var processes []*kube.Process
	f.stop = func() {
		for _, p := range processes {
			_ = p.Stop(context.WithoutCancel(ctx))
		}
	}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	for range replicas {
		ports, err := kube.FreePorts(2)
		if err != nil {
			return nil, err
		}
		p, err := b.run(ctx, "api", "letmepost-api-live", "http://"+kube.Address(ports[1])+"/readyz", "--environment", "live",
			"--listen-address", kube.Address(ports[0]), "--metrics-bind-address", kube.Address(ports[1]),
			"--data-dir", filepath.Join(b.dir, "data"), "--default-rate-limit", "none", "--failed-auth-limit", "none")
		if p != nil {
			processes = append(processes, p)
		}
		if err != nil {
			return nil, err
		}
		f.urls = append(f.urls, "http://"+kube.Address(ports[0]))
	}
	p, metrics, err := b.runController(ctx)
	if p != nil {
		processes = append(processes, p)
	}
	if err != nil {
		return nil, err
	}
	f.metrics = metrics
	return f, f.rest(ctx, keys)
}

// rest waits until the controller has looked at all keys, knows the replicas, and has nothing more to do. That it has
// written anything is an error: keys that need work would be measured too.
func (f *fleet) rest(ctx context.Context, keys int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // what it has to look at may be 100,000 Secrets
	defer cancel()
	for {
		m, err := scrape(ctx, f.metrics)
		if err != nil {
			return fmt.Errorf("wait until the controller is at rest: %w", err)
		}
		looked, busy := m.sum(
			"controller_runtime_reconcile_total",
			`controller="apikey"`,
		), m.sum(
			"workqueue_depth",
			"",
		)+m.sum(
			"controller_runtime_active_workers",
			"",
		)
		known := m.sum("lmp_replicas", `state="live"`)
		if looked >= float64(keys) && busy == 0 && known == float64(len(f.urls)) {
			if n := m.sum("rest_client_requests_total", `method="PATCH"`); n > 0 {
				return fmt.Errorf("the controller found something to patch %g times in keys that were loaded as it leaves them", n)
			}
			return nil
		}
		if !retry.Pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf(
				"the controller is not at rest: looked at %g of %d keys, knows %g replicas, %g left to do",
				looked,
				keys,
				known,
				busy,
			)
		}
	}
}

// metrics are series with their values.
type metrics map[string]float64

func scrape(ctx context.Context, url string) (metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	m := metrics{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 {
			if value, err := strconv.ParseFloat(lines.Text()[at+1:], 64); err == nil {
				m[lines.Text()[:at]] = value
			}
		}
	}
	return m, lines.Err()
}

// sum adds up the series of a metric that have a label.
func (m metrics) sum(name, label string) (sum float64) {
	for series, value := range m {
		if rest, ok := strings.CutPrefix(series, name); ok && strings.HasPrefix(rest, "{") && strings.Contains(rest, label) {
			sum += value
		}
	}
	return sum
}

// traffic is what the replicas have to do beside.
type traffic struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	served  atomic.Int64
	refused atomic.Int64
}

// traffic asks the replicas in turn, with one key after another, until it is stopped.
func (f *fleet) traffic(ctx context.Context, rate int, plaintexts []string) *traffic {
	const clients = 10
	t := &traffic{}
	ctx, t.cancel = context.WithCancel(ctx)
	for first := range clients {
		t.running.Go(func() {
			tick := time.NewTicker(time.Second * clients / time.Duration(rate))
			defer tick.Stop()
			for i := first; ; i += clients {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				switch status, err := whoamiStatus(ctx, f.urls[i%len(f.urls)], plaintexts[i%len(plaintexts)]); {
				case ctx.Err() != nil:
				case err != nil || status != http.StatusOK:
					t.refused.Add(1)
				default:
					t.served.Add(1)
				}
			}
		})
	}
	return t
}

// measure begins to count. What it returns tells how many requests a second there have been since.
func (t *traffic) measure() func() float64 {
	began, before := time.Now(), t.served.Load()
	return func() float64 { return float64(t.served.Load()-before) / time.Since(began).Seconds() }
}

// stop ends it. That a request was refused is an error: nobody has revoked these keys.
func (t *traffic) stop() error {
	t.cancel()
	t.running.Wait()
	if n := t.refused.Load(); n > 0 {
		return fmt.Errorf("%d requests with keys that nobody revoked were refused, and %d answered", n, t.served.Load())
	}
	return nil
}

// keepAlive holds enough idle connections for whoever asks at the same time.
var keepAlive = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

func whoamiStatus(ctx context.Context, url, plaintext string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/whoami", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+plaintext)
	resp, err := keepAlive.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body) // or the connection can't be used again
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}
