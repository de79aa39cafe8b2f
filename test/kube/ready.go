package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

const (
	pollInterval = 20 * time.Millisecond
	probeBound   = 2 * time.Second
	tailLines    = 20
)

// waitReady waits for one of the cluster's own processes.
func (c *Cluster) waitReady(ctx context.Context, process *Process, url string) error {
	httpClient, err := rest.HTTPClientFor(c.AdminConfig())
	if err != nil {
		return fmt.Errorf("wait for %s: %w", process.Name(), err)
	}
	defer httpClient.CloseIdleConnections()
	return WaitReady(ctx, httpClient, url, process, c.Processes()...)
}

// WaitReady polls a health endpoint of a process until it answers 200. It fails when ctx ends, and at once, with
// the end of the log, when the process or one that it needs dies.
func WaitReady(ctx context.Context, httpClient *http.Client, url string, process *Process, needs ...*Process) error {
	return process.Await(ctx, func(ctx context.Context) error { return probe(ctx, httpClient, url) }, needs...)
}

// Await asks until a process is ready. It fails as WaitReady does.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error, needs ...*Process) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, needed := range append(needs, p) {
			select {
			case <-needed.Done():
				return needed.explain(needed.ended())
			default:
			}
		}
		if !retry.Pause(ctx, pollInterval) {
			return p.explain(fmt.Errorf("%s did not become ready: %w (%w)", p.Name(), context.Cause(ctx), err))
		}
	}
}

// explain adds the end of the log to what is known about a process.
func (p *Process) explain(err error) error {
	return fmt.Errorf("%w; the end of %s:\n%s", err, p.LogFile(), p.Tail(tailLines))
}

// ended says that a process has ended, also when that was asked for.
func (p *Process) ended() error {
	if err := p.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%s was stopped", p.Name())
}

func probe(ctx context.Context, httpClient *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + response.Status)
	}
	return nil
}
