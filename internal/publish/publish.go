// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package publish brings posts to their platforms: at once, or when their time has come. Each attempt is stored before
// it begins, so that a post whose process died on the way is never sent a second time blindly.
package publish

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Options are what a Publisher is made of. All are required except where they say otherwise.
type Options struct {
	Store *store.DB
	Media *media.Library
	// Environment whose posts these are. Files of another one in the same library are none of this publisher's: its
	// database does not know them, and would take them for left behind.
	Environment key.Environment
	// Platforms are those that posts may be for. Posts for one without a Publisher, or that is not listed, fail.
	Platforms platform.List
	// Connections open accounts. Optional: without it no platform gets any secret, as in the sandbox, which needs none.
	Connections Connections
	Clock       clock.PassiveClock
	Logger      *slog.Logger
	Registerer  prometheus.Registerer
	// Tracer begins the traces of scheduled posts; attempts of requests belong to the request's. Optional: nil makes none.
	Tracer trace.Tracer
	// Timeout bounds one attempt. Optional: 20 s.
	Timeout time.Duration
	// PollInterval is how often the queue is looked at. Optional: 1 s.
	PollInterval time.Duration
}

// Connections open accounts for posts.
type Connections interface {
	// Open returns where the secrets of an account are; it reads none yet. A failure says why the account can't be used.
	Open(ctx context.Context, accountID string) (platform.Credentials, *platform.Failure, error)
	// Refused tells that the platform does not take what it was given (platform.CodeAuthFailed): the account is to be
	// connected again.
	Refused(ctx context.Context, with platform.Credentials, why platform.Failure)
}

// Publisher publishes posts. Nothing of it survives the process: what must not be lost is in the database before it is
// begun.
type Publisher struct {
	o       Options
	work    *store.Work
	queue   *river.Client[*sql.Tx]
	metrics metrics
	pace    pace
	// What waits for the database. Neither is ever full: what waits must not be forgotten, and whoever brings it can't
	// wait. Nobody is promised an order.
	withdrawals *workqueue.Typed[*withdrawal]
	records     *workqueue.Typed[*record]
	requests    underway
	shares      *shares
	started     chan struct{} // closed once the queue has started
	throttled   *slog.Logger  // for what would be said again and again
}

// backoff is how a database that is away is tried again: soon enough that nobody notices a restart of it, and seldom
// enough that all replicas together do not keep it from coming back.
var backoff = retry.Backoff{First: 100 * time.Millisecond, Most: 5 * time.Second}

// New returns a publisher. It asks the database for nothing yet, which may be away or still to be migrated: what is
// queued and published is stored by its callers, who notice.
func New(o Options) (*Publisher, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.PollInterval == 0 {
		o.PollInterval = defaultPollInterval
	}
	p := &Publisher{
		o:           o,
		work:        o.Store.Work(),
		pace:        paceOf(o.PollInterval),
		withdrawals: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[*withdrawal]{Queue: new(withdrawals)}),
		records:     workqueue.NewTyped[*record](),
		requests:    newUnderway(),
		started:     make(chan struct{}),
		throttled:   slog.New(newThrottled(o.Logger.Handler())),
	}
	p.shares = newShares(o.Clock, func(ctx context.Context, organization string) ([]string, error) {
		return p.work.Ready(ctx, organization, o.Environment)
	})
	var err error
	if p.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	if p.queue, err = p.newQueue(); err != nil {
		return nil, err
	}
	return p, nil
}

// Run works off what is queued, once the database has been migrated, until ctx ends. Then nothing more is sent, and it
// waits for the attempts that are running, those of requests too, until how they ended is written down: as long as one
// may take, and some seconds. Beside that it fails what dead processes have left behind, and purges what is no longer
// needed. A Publisher is run once.
func (p *Publisher) Run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.o.Store.Migrated():
	}
	// The order of the end: first nothing new begins (queue, withdrawals, upkeep), then running attempts end, then what
	// they have left to be written is written.
	var loops sync.WaitGroup
	loops.Go(func() { p.withdraw(ctx) })
	for _, u := range p.upkeep() {
		loops.Go(func() { p.keepUp(ctx, u) })
	}
	// A second later than the queue cancels what still runs (its SoftStopTimeout), so that it has time to end by itself.
	late := after(ctx, p.o.Timeout+p.pace.recordingGrace+time.Second)
	// In a request for many posts, those that were not sent yet would take longer than anybody waits for the end of a
	// process.
	context.AfterFunc(ctx, p.requests.end)
	// What is recorded late comes from attempts, so that is the last to end.
	recording, attemptsEnded := context.WithCancel(context.WithoutCancel(ctx))
	loops.Go(func() { p.recordLate(recording) })
	p.runQueue(ctx, late)
	if left := p.requests.wait(late); left > 0 {
		p.o.Logger.Warn("attempts of requests did not end in time: what became of them will be told as unknown",
			"attempts", left)
	}
	attemptsEnded()
	loops.Wait()
}

// after returns a channel that is closed d after ctx has ended.
func after(ctx context.Context, d time.Duration) <-chan struct{} {
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(d, func() { close(ended) }) })
	return ended
}
