// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/httpapi"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// stage is an API in this process with all that it stands on, a cluster excepted.
type stage struct {
	api           http.Handler
	authenticator *authn.Authenticator
	plaintext     string // one of the keys that it knows, for the whole of an organization
	caller        *caller.Caller
	store         *store.DB
	library       *media.Library
	publisher     *publish.Publisher
	connections   *connection.Keeper // nil: nothing is kept that opens accounts
	dir           string
	close         func()
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// newRequestID is that of cmd/api.
func newRequestID() string {
	var id uuid.UUID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// newStage returns an API that knows so many keys, on a SQLite file. It is that of the live environment, but with the
// sandbox for platforms.
func newStage(ctx context.Context, keys int) (*stage, error) {
	return newStageOf(ctx, keys, sandbox.OfAll(catalog.All, newID, clock.RealClock{}), nil)
}

// newStageOf is newStage with other platforms. keyset is of the vault that keeps what opens accounts; nil: nothing is
// kept.
func newStageOf(ctx context.Context, keys int, platforms platform.List, keyset *vault.Keyset) (_ *stage, err error) {
	uuid.EnableRandPool() // as cmd/api does
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return nil, err
	}
	s := &stage{}
	index, random := authn.NewIndex(), rand.NewChaCha8([32]byte{4})
	for i := range keys {
		if s.plaintext, err = format.Mint(random, key.Live); err != nil {
			return nil, err
		}
		index.PutKey(authntest.Resource(format, i, s.plaintext))
	}
	s.authenticator = authn.NewAuthenticator(authn.Options{
		Index: index, Format: format, Environment: key.Live, Clock: clock.RealClock{},
		Serving:       func(time.Time) bool { return true },
		CommitTimeout: time.Second,
	})
	f := new(authn.Flight)
	if err := s.authenticator.Admit(ctx, time.Now(), []string{"Bearer " + s.plaintext}, f); err != nil {
		return nil, err
	}
	if s.caller = f.Caller(); f.End() != nil {
		return nil, fmt.Errorf("the key of the benchmark was taken back")
	}
	registry, logger := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	if err := s.openStorage(ctx, logger); err != nil {
		return nil, err
	}
	publishing := publish.Options{
		Store: s.store, Media: s.library, Environment: key.Live, Platforms: platforms,
		Clock: clock.RealClock{}, Logger: logger, Registerer: registry,
	}
	if keyset != nil {
		if s.connections, err = connection.New(connection.Options{
			Store: s.store, Vault: vault.Fixed(keyset), Platforms: platforms,
			Clock: clock.RealClock{}, Logger: logger, Registerer: registry,
		}); err != nil {
			return nil, err
		}
		publishing.Connections = s.connections
	}
	if s.publisher, err = publish.New(publishing); err != nil {
		return nil, err
	}
	limits, err := limit.NewCallers(
		limit.Options{Default: rate.Rate{Requests: 1_000_000, Window: time.Second}, Registerer: registry},
	)
	if err != nil {
		return nil, err
	}
	admitted, err := admission.New(admission.Options{
		Authenticator: s.authenticator, Limits: limits, Failures: limit.NewAddresses(rate.Rate{}),
	})
	if err != nil {
		return nil, err
	}
	s.api, err = httpapi.New(httpapi.Config{
		Admission: admitted,
		Directory: index,
		Ready:     func() bool { return true },
		Store:     s.store,
		Library:   s.library,
		Writes:    &write.Protocol{Later: s.publisher.RecordLater, Logger: logger, Wait: write.DefaultWait},
		Posting: posting.New(posting.Options{
			Store: s.store, Publisher: s.publisher, Profiles: index, NewID: newID, Clock: clock.RealClock{},
		}),
		Connecting: connecting.New(connecting.Options{
			Platforms: platforms, Connections: s.connections, NewID: newID, Random: crand.Reader, Clock: clock.RealClock{},
		}),
		Environment:  key.Live,
		KeyFormat:    format,
		NewRequestID: newRequestID,
		Random:       crand.Reader,
		Clock:        clock.RealClock{},
		Logger:       logger,
		Registerer:   registry,
	})
	return s, err
}

// openStorage opens a database and a folder of media, in a directory of their own.
func (s *stage) openStorage(ctx context.Context, logger *slog.Logger) (err error) {
	if s.dir, err = os.MkdirTemp("", "lmp-bench-"); err != nil {
		return err
	}
	if s.store, err = store.Open(store.Options{
		URL: "sqlite:" + filepath.Join(s.dir, "bench.db"), Clock: clock.RealClock{}, NewID: newID, Logger: logger,
	}); err != nil {
		return err
	}
	life, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.store.Run(life)
	}()
	s.close = func() {
		stop()
		<-ended
		_ = s.store.Close()
		_ = os.RemoveAll(s.dir)
	}
	select {
	case <-s.store.Migrated():
	case <-time.After(time.Minute):
		return fmt.Errorf("the database in %s is not migrated after a minute", s.dir)
	}
	s.library, err = media.Open(
		ctx,
		(&url.URL{Scheme: "file", Path: filepath.Join(s.dir, "media")}).String(),
		media.DefaultMaxSize,
	)
	return err
}
