// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// callBound is how long one call may take before it counts as one without an answer.
const callBound = 10 * time.Second

// caller calls, and keeps count.
type caller struct {
	url, key string
	want     int
	client   *http.Client
	began    time.Time

	mutex    sync.Mutex
	counts   map[string]int // by status code, or "error"
	unwanted int
	output   *json.Encoder
}

// line is a line of output.
type line struct {
	Status   int            `json:"status,omitempty"`
	Error    string         `json:"error,omitempty"`
	Counts   map[string]int `json:"counts,omitempty"`
	Unwanted *int           `json:"unwanted,omitempty"` // there on each line with counts
	After    string         `json:"after"`              // since the start, such as "1.02s"
	Done     bool           `json:"done,omitempty"`
}

func call(args []string) error {
	c := &caller{key: os.Getenv("LMP_API_KEY"), counts: map[string]int{}, output: json.NewEncoder(os.Stdout)}
	flags := flag.NewFlagSet("call", flag.ContinueOnError)
	flags.StringVar(&c.url, "url", os.Getenv("LMP_BASE_URL")+"/v1/whoami", "what to ask")
	flags.IntVar(&c.want, "want", http.StatusOK, "the status that every answer should have")
	calls := flags.Int64("calls", 0, "how many calls in all; 0: until SIGTERM")
	interval := flags.Duration("interval", 20*time.Millisecond, "pause of each worker after a call")
	workers := flags.Int("workers", 1, "calls at the same time")
	fresh := flags.Bool("fresh", false, "a new connection for each call: any replica may answer it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c.client = &http.Client{
		Timeout:   callBound,
		Transport: &http.Transport{DisableKeepAlives: *fresh, MaxIdleConnsPerHost: *workers},
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	c.began = time.Now()
	ended := make(chan struct{})
	go c.reports(ended)

	var left atomic.Int64
	left.Store(*calls)
	var running sync.WaitGroup
	for range *workers {
		running.Go(func() {
			for ctx.Err() == nil && (*calls == 0 || left.Add(-1) >= 0) {
				c.once()
				retry.Pause(ctx, *interval)
			}
		})
	}
	running.Wait()
	close(ended)
	c.report(true)
	if c.unwanted > 0 {
		return fmt.Errorf("%d answers were not %d", c.unwanted, c.want)
	}
	return nil
}

// once makes one call. It is never cut off by the end of the program, which would look like a failure.
func (c *caller) once() {
	status, err := c.ask()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err != nil {
		c.counts["error"]++
	} else {
		c.counts[strconv.Itoa(status)]++
	}
	if status == c.want {
		return
	}
	c.unwanted++
	l := line{Status: status, After: c.after()}
	if err != nil {
		l.Error = err.Error()
	}
	_ = c.output.Encode(l)
}

// ask returns the status of an answer that has come whole.
func (c *caller) ask() (int, error) {
	request, err := http.NewRequest(http.MethodGet, c.url, http.NoBody) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	response, err := c.client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which is always the same
		}
		return 0, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	return response.StatusCode, nil
}

// reports prints the counts every second.
func (c *caller) reports(ended <-chan struct{}) {
	for ticker := time.NewTicker(time.Second); ; {
		select {
		case <-ticker.C:
			c.report(false)
		case <-ended:
			ticker.Stop()
			return
		}
	}
}

func (c *caller) report(done bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	_ = c.output.Encode(line{Counts: c.counts, Unwanted: &c.unwanted, After: c.after(), Done: done})
}

func (c *caller) after() string { return time.Since(c.began).Round(time.Millisecond).String() }
