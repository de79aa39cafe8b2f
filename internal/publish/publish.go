// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package publish brings posts to their platforms: at once, or when their time has come. Each attempt is on record before
// it begins, so that a post whose process died on the way is never sent a second time blindly.
package publish

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Platform is what a post can go to.
type Platform interface {
	// Preflight says what the platform would refuse, without asking it: a *platform.Failure with CodePreflightFailed, or nil.
	Preflight(platform.Content) *platform.Failure
	// Publish sends a post. It must heed ctx. An error that is no *platform.Failure is a mistake of ours.
	Publish(ctx context.Context, to platform.Account, c platform.Content) (platform.Receipt, error)
}

// Connector is how accounts of a platform are connected.
type Connector interface {
	Describe() platform.Descriptor
	// Connect tries credentials, by the names of the descriptor's fields. The error is a *platform.Failure.
	Connect(ctx context.Context, credentials map[string]string) (platform.Connection, error)
}

// Options are what a Publisher is made of. All are required except where they say otherwise.
type Options struct {
	Store      *store.DB
	Media      *media.Library
	Platforms  map[platform.Name]Platform
	Clock      clock.PassiveClock
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Timeout bounds one attempt. Optional: 20 s.
	Timeout time.Duration
	// PollInterval is how often the queue is looked at. Optional: 1 s.
	PollInterval time.Duration
}

// Publisher publishes posts.
type Publisher struct{}

// New returns a publisher.
func New(o Options) (*Publisher, error) { panic("TODO") }

// Run works off what is queued, once the database has been migrated, until ctx ends; then it waits for the attempts that are running. Beside
// that it settles what dead processes have left behind, and purges what is no longer needed.
func (p *Publisher) Run(ctx context.Context) { panic("TODO") }

// Enqueue has posts published when their time has come, if tx is committed.
func (p *Publisher) Enqueue(ctx context.Context, tx *store.Tx, posts []store.Post) error {
	panic("TODO")
}

// Preflight says what the post's platform would refuse. media are those of the content, with their types and sizes.
func (p *Publisher) Preflight(name platform.Name, c platform.Content) *platform.Failure {
	panic("TODO")
}

// Publish makes the attempts that were begun with posts, several at a time, and returns their outcomes in the same order. They
// are still to be recorded.
func (p *Publisher) Publish(ctx context.Context, posts []store.Post, attempts []store.Attempt) []store.Outcome {
	panic("TODO")
}
