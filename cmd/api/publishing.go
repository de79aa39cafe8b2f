// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// publishing is what keys open: the database, the media, the platforms, and what limits their use. They live and end
// together: the publisher needs store and library until its last attempt is recorded.
type publishing struct {
	environment key.Environment
	store       *store.DB
	library     *media.Library
	publisher   *publish.Publisher // of this environment's platforms alone
	platforms   platform.List
	limits      *limit.Callers
	vault       *vault.Vault // it has a keyset or says that it has none
	resealer    *connection.Resealer
	accounts    *connection.Keeper
}

// newID returns a UUIDv7: ids that were made one after another stand beside each other in an index. The error is that
// of the system's randomness, without which nothing here should go on.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// newPublishing opens what is on disk and begins nothing: the database is reached by run, and may be away now. So the
// process starts in any order with its database, and says by /readyz when it has found it.
func newPublishing(
	ctx context.Context, o options, registry prometheus.Registerer, tracer trace.Tracer, logger *slog.Logger,
) (*publishing, error) {
	p := &publishing{environment: o.environment}
	var err error
	if p.platforms, err = o.platformList(registry, logger); err != nil {
		return nil, err
	}
	if o.dataDir != "" {
		if err := os.MkdirAll(o.dataDir, 0o700); err != nil { // nobody else's: posts and files of all organizations
			return nil, fmt.Errorf("--data-dir: %w", err)
		}
	}
	if p.store, err = store.Open(store.Options{
		URL: o.databaseURL, Environment: o.environment, Clock: clock.RealClock{}, NewID: newID, Logger: logger,
		// There is no vault yet, which needs the store. Nobody asks before the heartbeat, which run begins.
		VaultKeys: p.vaultKeys,
		Quotas:    o.quotas.stored, Registerer: registry,
	}); err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	if p.library, err = media.Open(ctx, o.mediaURL, o.maxMediaSize); err != nil {
		return nil, errors.Join(fmt.Errorf("media: %w", err), p.store.Close())
	}
	// The vault comes first: what opens accounts for the publisher is made with it.
	if err = p.newVault(o, registry, logger); err == nil {
		err = p.newPublisher(o, registry, tracer, logger)
	}
	if err == nil {
		p.limits, err = limit.NewCallers(
			limit.Options{Default: o.keyRate, RedisURL: o.redisURL, Registerer: registry, Logger: logger},
		)
	}
	// What is open is closed here: close is for who has got all of it.
	if err != nil {
		return nil, errors.Join(err, p.library.Close(), p.store.Close())
	}
	return p, nil
}

// newPublisher makes what publishes, and what opens accounts for it. In the test environment there is nothing that
// opens any.
func (p *publishing) newPublisher(
	o options, registry prometheus.Registerer, tracer trace.Tracer, logger *slog.Logger,
) (err error) {
	publisher := publish.Options{
		Store: p.store, Media: p.library, Environment: o.environment, Clock: clock.RealClock{},
		Logger: logger, Registerer: registry, Tracer: tracer,
	}
	if p.accounts, err = connection.New(connection.Options{
		Store: p.store, Vault: p.vault, Platforms: p.platforms, Clock: clock.RealClock{},
		Logger: logger, Registerer: registry,
	}); err != nil {
		return err
	}
	// A nil *Keeper in the interface would not be nil there, and the publisher would ask it for secrets.
	if keeper := p.connections(); keeper != nil {
		publisher.Connections = keeper
	}
	publisher.Platforms = p.platforms
	p.publisher, err = publish.New(publisher)
	return err
}

// changing makes what callers change things by: one of each for all that serves them, the API and the dashboard.
func (p *publishing) changing(
	o options, profiles caller.Directory, logger *slog.Logger,
) (*write.Protocol, *posting.Posting, *connecting.Connecting) {
	var public *url.URL
	if o.publicURL != "" {
		public, _ = url.Parse(o.publicURL) // which was checked with the flags
	}
	// What can't be stored while the database is away, the publisher goes on with: it outlives every request.
	writes := &write.Protocol{Later: p.publisher.RecordLater, Logger: logger, Wait: write.DefaultWait}
	return writes, posting.New(posting.Options{
			Store: p.store, Publisher: p.publisher, Profiles: profiles, NewID: newID, Clock: clock.RealClock{},
		}), connecting.New(connecting.Options{
			Platforms: p.platforms, Connections: p.connections(), Public: public, ReturnTo: o.platforms.returnTo,
			NewID: newID, Random: rand.Reader, Clock: clock.RealClock{},
		})
}

// connections is what opens accounts; nil in the test environment, where nothing is kept that would open any. There
// they are only counted.
func (p *publishing) connections() *connection.Keeper {
	if p.environment == key.Test {
		return nil
	}
	return p.accounts
}

// ready tells whether the database has been reached and migrated, once, and takes writes: if it goes away later,
// requests are answered 503 one by one, by whichever replica they reach. One that has become read-only is this
// replica's alone, when others have found where writes are taken now. Media and Redis are not asked: most requests need
// neither, and a bucket that is away would take all replicas out at once.
//
// Once the database is there the vault takes in its keyset, and whoever comes before that could connect no account. A
// keyset that is missing or broken is not waited for: all else goes on without it.
func (p *publishing) ready() bool {
	return p.store.Writable() && (p.connections() == nil || p.vault.Decided())
}

// run works until ctx ends, and then until the last attempt to publish has been recorded.
func (p *publishing) run(ctx context.Context) {
	// The store's heartbeat tells other processes that this one is alive. If it stopped with ctx, they would fail the
	// attempts that still run here.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var ended sync.WaitGroup
	// All of them may begin at once: what of the others needs the database waits until this one has migrated it.
	ended.Go(func() { p.store.Run(life) })
	ended.Go(func() { p.runVault(life) }) // what runs to its end may still have to open an account
	// It ends with ctx, as nothing of it is owed to a request: attempts that still run refresh what they need themselves.
	ended.Go(func() { p.accounts.Run(ctx) })
	// It returns when the last attempt is recorded, or was given up. Only then may the process be called dead.
	p.publisher.Run(ctx)
	end()
	ended.Wait()
}

// withdraw cancels what a revoked key has queued, if it is a key of this environment: the index holds those of both,
// and the other one's posts are in a database that this process has nothing to do with. done is called when the
// deletion need not wait for this process any more. It must not wait: the index calls it while it takes in a deletion.
func (p *publishing) withdraw(k *authn.Key, done func()) {
	if k.Environment() != p.environment {
		done()
		return
	}
	p.publisher.Withdraw(k.Organization.ID, string(k.ID()), done)
}

// close lets go of what was opened, in the opposite order. Its errors are nobody's concern any more: all that had to be
// stored is stored, or the process could not have ended.
func (p *publishing) close() {
	_ = p.limits.Close()
	_ = p.library.Close()
	_ = p.store.Close()
}
