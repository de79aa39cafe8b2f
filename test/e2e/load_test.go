// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// load is requests that go on until they are stopped: some clients keep their connections, as apps do, and some make a
// new one for each request. A request fails if it is not answered, or not with 200, or only the second time: Go's
// client sends a request again by itself when a connection breaks that it had kept, which other clients may not do.
type load struct {
	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	answered int
	failed   int
	failures []string // the first of them
}

// maxFailures is how many failures are kept in words.
const maxFailures = 20

// startLoad reads whoami, and publishes, at the API of a URL. It ends with the spec.
func startLoad(url, key string) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	publish := func(ctx context.Context) (*http.Request, error) {
		body := strings.NewReader(`{"targets":[{"platform":"bluesky"}],"text":"Under load"}`)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/posts", body)
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", uuid.NewString()) // with it a client may send a request again
		}
		return req, err
	}
	whoami := func(ctx context.Context) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/whoami", nil)
	}
	for _, client := range []struct {
		request   func(context.Context) (*http.Request, error)
		keepAlive bool
	}{{whoami, true}, {whoami, true}, {whoami, false}, {publish, true}, {publish, false}} {
		l.running.Go(func() {
			transport := &http.Transport{DisableKeepAlives: !client.keepAlive}
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				l.ask(ctx, transport, client.request, key)
				time.Sleep(5 * time.Millisecond) // the pace of a client; the machine is shared with what it asks
			}
		})
	}
	DeferCleanup(l.end)
	return l
}

func (l *load) ask(
	ctx context.Context, transport *http.Transport, request func(context.Context) (*http.Request, error), key string,
) {
	status, err := func() (string, error) {
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		req, err := request(bounded)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+key)
		var sent atomic.Int32 // the transport writes in goroutines of its own
		req = req.WithContext(httptrace.WithClientTrace(bounded, &httptrace.ClientTrace{
			WroteHeaders: func() { sent.Add(1) },
		}))
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		switch {
		case resp.StatusCode != http.StatusOK:
			return fmt.Sprintf("%s %s", resp.Status, body), err
		case sent.Load() > 1:
			return fmt.Sprintf("sent %d times", sent.Load()), err
		}
		return "", err
	}()
	if ctx.Err() != nil {
		return // it was cut by us
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if status == "" && err == nil {
		l.answered++
		return
	}
	l.failed++
	if len(l.failures) < maxFailures {
		l.failures = append(l.failures, fmt.Sprintf("%s %s %v", time.Now().Format(time.TimeOnly+".000"), status, err))
	}
}

func (l *load) end() {
	l.stop()
	l.running.Wait()
}

// expectNoFailure ends the load. All its requests, and there were many, were answered with 200.
func (l *load) expectNoFailure(during string) {
	GinkgoHelper()
	l.end()
	figure("%s: %d requests answered, %d failed", during, l.answered, l.failed)
	Expect(l.failures).To(BeEmpty(), "%s, under load: %d requests", during, l.failed)
	Expect(l.answered).To(BeNumerically(">", 100), "%s, under load", during)
}
