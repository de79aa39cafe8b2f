// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// quotas are those of the APIs that tests make. Tests of this package run one after the other, so one may set them.
var quotas store.Amounts

// publishing completes c with real parts: a database (a SQLite file of the test's own, unless there is a URL), a folder
// of media, and the sandbox as every platform. The publisher does not run: what is queued stays so.
func publishing(t testing.TB, c *parts, databaseURL string) {
	t.Helper()
	dir := t.TempDir()
	if databaseURL == "" {
		file := filepath.Join(dir, "test.db")
		check(t, os.WriteFile(file, migrated(), 0o600))
		databaseURL = "sqlite:" + file
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	db, err := store.Open(store.Options{URL: databaseURL, Clock: c.Clock, NewID: newID, Logger: logger, Quotas: quotas})
	check(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		db.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		check(t, db.Close())
	})
	select {
	case <-db.Migrated():
	case <-time.After(time.Minute):
		t.Fatal("the database is not migrated")
	}
	library, err := media.Open(ctx, (&url.URL{Scheme: "file", Path: filepath.Join(dir, "media")}).String(), media.DefaultMaxSize)
	check(t, err)
	t.Cleanup(func() { check(t, library.Close()) })
	platforms := sandbox.OfAll(catalog.All, newID, clock.RealClock{})
	publisher, err := publish.New(publish.Options{
		Store: db, Media: library, Environment: c.Environment, Platforms: platforms, Clock: c.Clock, Logger: logger, Registerer: prometheus.NewRegistry(),
	})
	check(t, err)
	limits, err := limit.NewCallers(limit.Options{Registerer: prometheus.NewRegistry()})
	check(t, err)
	c.Store, c.Library, c.Publisher, c.Platforms = db, library, publisher, platforms
	c.Admission.Limits, c.Admission.Failures = limits, limit.NewAddresses(rate.Rate{})
	c.Random = rand.Reader
}

// migrated is the file of an empty database. It is made once: under the race detector, migrations take most of a
// second.
var migrated = sync.OnceValue(func() []byte {
	file, err := emptyDatabase()
	if err != nil {
		panic(err)
	}
	return file
})

func emptyDatabase() ([]byte, error) {
	dir, err := os.MkdirTemp("", "httpapi")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "empty.db")
	db, err := store.Open(store.Options{
		URL: "sqlite:" + file, Clock: clock.RealClock{}, NewID: uuid.NewString, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); db.Run(ctx) }()
	<-db.Migrated()
	stop()
	<-ended
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}
