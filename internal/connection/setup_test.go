// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/postgres"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

var now = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// onBoth runs a test with each kind of database.
func onBoth(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db")) })
	t.Run("postgresql", func(t *testing.T) { test(t, postgres.Start(t)) })
}

// rotating is a platform whose refresh tokens are good for one time each, as OAuth's are: who uses one twice has lost
// the account.
type rotating struct {
	mu        sync.Mutex
	good      map[string]string // the refresh token that is good, by account
	refreshes map[string]int    // that went well
	replays   atomic.Int32
	fail      atomic.Pointer[platform.Failure]
	entered   chan struct{} // if not nil, told of each refresh
	goOn      chan struct{} // if not nil, each refresh waits for it
}

func newRotating() *rotating {
	return &rotating{good: map[string]string{}, refreshes: map[string]int{}}
}

func (r *rotating) Refresh(
	ctx context.Context, of platform.Account, with platform.Secrets,
) (platform.Refreshed, error) {
	if f := r.fail.Load(); f != nil {
		return platform.Refreshed{}, f
	}
	if r.entered != nil {
		r.entered <- struct{}{}
	}
	if r.goOn != nil {
		select {
		case <-r.goOn:
		case <-ctx.Done():
			return platform.Refreshed{}, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if good, used := r.good[of.ID], with[platform.SecretRefreshToken]; good != "" && good != used {
		r.replays.Add(1)
		return platform.Refreshed{}, &platform.Failure{Code: platform.CodeAuthFailed, Message: "The refresh token was used before."}
	}
	r.refreshes[of.ID]++
	n := r.refreshes[of.ID]
	next := fmt.Sprintf("refresh-%d", n)
	r.good[of.ID] = next
	return platform.Refreshed{
		Secrets:   platform.Secrets{platform.SecretRefreshToken: next, platform.SecretAccessToken: fmt.Sprintf("access-%d", n)},
		RefreshAt: now.Add(time.Duration(n+1) * time.Hour),
	}, nil
}

// process is what an API process has of all this.
type process struct {
	*connection.Keeper
	db       *store.DB
	clock    *clocktesting.FakeClock
	registry *prometheus.Registry
	log      *testlog.Buffer
}

// keyset is one for all processes of a test.
func keyset(t *testing.T) *vault.Keyset {
	t.Helper()
	k, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func start(t *testing.T, url string, v *vault.Vault, r platform.Refresher) *process {
	t.Helper()
	p := &process{clock: clocktesting.NewFakeClock(now), registry: prometheus.NewRegistry(), log: &testlog.Buffer{}}
	logger := slog.New(slog.NewTextHandler(p.log, nil))
	var err error
	if p.db, err = store.Open(store.Options{URL: url, Clock: p.clock, NewID: newID, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.db.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if err := p.db.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-p.db.Migrated():
	case <-time.After(patience):
		t.Fatal("the database was not migrated")
	}
	to := bluesky.Platform
	to.Refresher = r
	to.Revoker, _ = r.(platform.Revoker)
	if p.Keeper, err = connection.New(connection.Options{
		Store: p.db, Vault: v, Platforms: platform.List{to}, Clock: p.clock, Logger: logger, Registerer: p.registry,
		Interval: 10 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// run runs the Keeper until the test ends.
func (p *process) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// admitted returns somebody of one organization.
func admitted(t *testing.T) *caller.Caller {
	t.Helper()
	k, plaintext := authntest.Minted(t, authntest.Format(t), key.Live)
	a := authntest.Authenticator(t, authntest.Index(t, k), key.Live, clock.RealClock{})
	who, err := authntest.Caller(a, time.Now(), []string{"Bearer " + plaintext})
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// connect connects an account.
func (p *process) connect(
	t *testing.T, v *store.View, secrets platform.Secrets, mods ...func(*store.Account),
) store.Account {
	t.Helper()
	a := store.Account{
		ID: newID(), Platform: bluesky.Name, PlatformAccountID: "did:plc:" + newID(), CreatedAt: now, UpdatedAt: now,
	}
	for _, mod := range mods {
		mod(&a)
	}
	err := v.Write(t.Context(), func(tx *store.Tx) (err error) {
		if a, _, err = tx.PutAccount(a); err != nil {
			return err
		}
		sealed, err := p.Seal(tx.Organization(), a.ID, secrets)
		if err != nil {
			return err
		}
		return tx.PutSecrets(a.ID, sealed)
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func refreshAt(at time.Time) func(*store.Account) {
	return func(a *store.Account) { a.RefreshAt = at }
}

func first() platform.Secrets {
	return platform.Secrets{platform.SecretRefreshToken: "refresh-0", platform.SecretAccessToken: "access-0"}
}

// open opens an account that must open.
func (p *process) open(t *testing.T, id string) platform.Credentials {
	t.Helper()
	c, failure, err := p.Open(t.Context(), id)
	if err != nil || failure != nil {
		t.Fatalf("the account does not open: %v, %v", failure, err)
	}
	return c
}

func isFailure(err error, code string) bool {
	var f *platform.Failure
	return errors.As(err, &f) && f.Code == code
}

// await waits until something is so.
func await(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come")
		}
	}
}
