// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package use_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// replica is a process, as far as keys are used there: an index, and what keeps its counts in the database.
type replica struct {
	*use.Keeper
	index         *authn.Index
	authenticator *authn.Authenticator
	db            *store.DB
	registry      *prometheus.Registry
	clock         *clocktesting.FakePassiveClock
}

// newReplica starts a process that knows some ApiKeys and Profiles.
func newReplica(
	t testing.TB, url, name string, clk *clocktesting.FakePassiveClock, objects []any, mods ...func(*use.Options),
) *replica {
	t.Helper()
	r := &replica{index: authntest.Index(t, objects...), registry: prometheus.NewRegistry(), clock: clk}
	r.authenticator = authntest.Authenticator(t, r.index, key.Live, clk)
	var err error
	if r.db, err = store.Open(store.Options{
		URL: url, Clock: clock.RealClock{}, NewID: newID, Logger: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.db.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; _ = r.db.Close() })
	select {
	case <-r.db.Migrated():
	case <-time.After(time.Minute):
		t.Fatal("the database is not migrated after a minute")
	}
	o := use.Options{
		Index: r.index, Store: r.db, Environment: key.Live, Replica: name, Complete: func() bool { return true },
		Clock: clk, Logger: slog.New(slog.DiscardHandler), Registerer: r.registry,
	}
	for _, mod := range mods {
		mod(&o)
	}
	if r.Keeper, err = use.New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

// request makes n requests with a key, and returns who they came from.
func (r *replica) request(t testing.TB, plaintext string, n int) (c *caller.Caller) {
	t.Helper()
	for range n {
		f := new(authn.Flight)
		if err := r.authenticator.Admit(t.Context(), r.clock.Now(), []string{"Bearer " + plaintext}, f); err != nil {
			t.Fatal(err)
		}
		c = f.Caller()
		if err := f.End(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (r *replica) write(t testing.TB) {
	t.Helper()
	if err := r.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// metric returns the value of a counter or a gauge, of all its labels together.
func (r *replica) metric(t testing.TB, name string) (sum float64) {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.Counter.GetValue() + m.Gauge.GetValue()
			}
		}
	}
	return sum
}

func (r *replica) lastUsed(t testing.TB, c *caller.Caller, ids ...string) map[string]time.Time {
	t.Helper()
	last, err := r.LastUsed(t.Context(), c, ids...)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func (r *replica) of(t testing.TB, c *caller.Caller, id string) use.Series {
	t.Helper()
	s, err := r.Of(t.Context(), c, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func minted(t testing.TB, mods ...func(*v1alpha1.ApiKey)) (*v1alpha1.ApiKey, string) {
	t.Helper()
	return authntest.Minted(t, authntest.Format(t), key.Live, mods...)
}
