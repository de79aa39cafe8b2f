// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// activeKeys are all used within a minute.
const activeKeys = 100_000

// benchUse measures what it costs to know what keys are used for: of a request, the counting; and once a minute, to
// write down 100,000 keys that were all used. Database and process are one here, as with SQLite; with PostgreSQL, four
// fifths of that are the server's.
func benchUse(ctx context.Context, r *report) error {
	stage, err := newStage(ctx, 1000)
	if err != nil {
		return err
	}
	defer stage.close()
	counting, err := newUsed(ctx, stage, true, activeKeys)
	if err != nil {
		return err
	}
	not, err := newUsed(ctx, stage, false, activeKeys)
	if err != nil {
		return err
	}
	request, err := whoamiTime(ctx, stage)
	if err != nil {
		return err
	}
	with, without := math.Inf(1), math.Inf(1)
	for range 2 * rounds {
		with, without = min(with, counting.admit(ctx)), min(without, not.admit(ctx))
	}
	r.atMost("use: counting a request, share of a GET /v1/whoami", 100*(with-without)/request, 1, "%",
		fmt.Sprintf("%.0f ns of %.0f ns of processor time, %d keys", with-without, request, activeKeys))

	// To end is to write all at once. The first time makes the rows, as happens once in ten minutes.
	over, end := context.WithCancel(ctx)
	end()
	counting.keeper.Run(over)
	first, err := counting.transactions()
	if err != nil {
		return err
	}
	counting.admit(ctx)
	before := processorTime()
	began := time.Now()
	counting.keeper.Run(over)
	used, took := processorTime()-before, time.Since(began)
	transactions, err := counting.transactions()
	if err != nil {
		return err
	}
	transactions -= first
	minute := time.Minute.Seconds()
	r.atMost("use: transactions a second, 100,000 active keys", transactions/minute, 20, "",
		fmt.Sprintf("%.0f a minute and replica, written in %s together", transactions, took.Round(time.Millisecond)))
	r.plain("use: writing them, share of the processors", 100*used.Seconds()/(minute*float64(runtime.GOMAXPROCS(0))), "%",
		fmt.Sprintf("%s of processor time a minute, SQLite's included", used.Round(time.Millisecond)))
	return nil
}

// whoamiTime is the processor time of a GET /v1/whoami, in nanoseconds.
func whoamiTime(ctx context.Context, s *stage) (float64, error) {
	api, err := serveOn(ctx, s.api)
	if err != nil {
		return 0, err
	}
	defer api.stop()
	before := processorTime()
	rate, err := api.load(ctx, whoamiPath, s.plaintext, 2*time.Second)
	return float64(processorTime()-before) / (2 * rate), err
}

// used is keys that are all used.
type used struct {
	authenticator *authn.Authenticator
	headers       [][]string
	keeper        *use.Keeper // nil: nobody counts
	registry      *prometheus.Registry
}

// newUsed makes keys, and what keeps their use in the stage's database.
func newUsed(_ context.Context, s *stage, counted bool, keys int) (*used, error) {
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return nil, err
	}
	u, index := &used{registry: prometheus.NewRegistry()}, authn.NewIndex()
	for i := range keys {
		plaintext, err := format.Mint(crand.Reader, key.Live)
		if err != nil {
			return nil, err
		}
		index.PutKey(authntest.Resource(format, i, plaintext))
		u.headers = append(u.headers, []string{"Bearer " + plaintext})
	}
	u.authenticator = authn.NewAuthenticator(authn.Options{
		Index: index, Format: format, Environment: key.Live, Clock: clock.RealClock{},
		Serving: func(time.Time) bool { return true }, CommitTimeout: time.Second,
	})
	if counted {
		u.keeper, err = use.New(use.Options{
			Index: index, Store: s.store, Environment: key.Live, Replica: "bench", Complete: func() bool { return true },
			Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler), Registerer: u.registry,
		})
	}
	return u, err
}

// admit lets one request in with each key, and returns the nanoseconds of processor time of one.
func (u *used) admit(ctx context.Context) float64 {
	before := processorTime()
	for _, header := range u.headers {
		f := new(authn.Flight)
		if err := u.authenticator.Admit(ctx, time.Now(), header, f); err != nil {
			panic(err)
		}
		if err := f.End(); err != nil {
			panic(err)
		}
	}
	return float64(processorTime()-before) / float64(len(u.headers))
}

// transactions is how many have written.
func (u *used) transactions() (sum float64, err error) {
	families, err := u.registry.Gather()
	for _, f := range families {
		if f.GetName() == "lmp_key_use_writes_total" {
			for _, m := range f.Metric {
				sum += m.Counter.GetValue()
			}
		}
	}
	return sum, err
}
