// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// replica is what a process has of all this: it follows the keyset's file, tells what it knows, and seals again.
type replica struct {
	vault *vault.Vault
	db    *store.DB
}

func startReplica(t *testing.T, url, keyset string, clk clock.WithTicker) *replica {
	t.Helper()
	p := &publishing{}
	r := new(replica)
	r.db, _ = openStore(t, url, func(o *store.Options) { o.VaultKeys = p.vaultKeys }, func(*store.Options) {
		v, err := vault.New(vault.Options{
			Path: keyset, Clock: clk, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
			Needs: func() (map[uint32]int, error) { return r.db.Work().SealedBy(context.Background()) },
		})
		if err != nil {
			t.Fatal(err)
		}
		p.vault, r.vault = v, v
	})
	resealer, err := connection.NewResealer(connection.ResealOptions{
		Rows: r.db.Work(), Vault: r.vault, Clock: clk, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, r.vault.Run)
	background(t, func(ctx context.Context) { // as often as can be, so that it meets the renewals
		for ctx.Err() == nil {
			if _, err := resealer.Once(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("seal again: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	return r
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// load is accounts whose secrets are read and renewed all the time, and what each must be.
type load struct {
	mu       sync.Mutex
	want     map[string]string // by account
	accounts []string
	renewed  atomic.Int64
	read     atomic.Int64
}

// TestRotationUnderLoad: keys come and go while two processes renew and read secrets, and every secret is always what
// was written last.
func TestRotationUnderLoad(t *testing.T) {
	for engine, url := range map[string]func(*testing.T) string{
		"sqlite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "live.db") },
		"postgresql": func(t *testing.T) string { return postgres.Start(t) },
	} {
		t.Run(engine, func(t *testing.T) { rotateUnderLoad(t, url(t)) })
	}
}

func rotateUnderLoad(t *testing.T, url string) {
	keyset := filepath.Join(t.TempDir(), "keyset.json")
	mustVault(t, nil, "init", keyset)
	first := keysOf(t, keyset)
	// The vaults look at their file as often as this clock is moved. A step of one look, so that none takes itself for
	// one that was paused.
	clk := clocktesting.NewFakeClock(time.Now())
	replicas := []*replica{startReplica(t, url, keyset, clk), startReplica(t, url, keyset, clk)}
	background(t, func(ctx context.Context) {
		for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			clk.Step(5 * time.Second)
		}
	})
	l := &load{want: map[string]string{}}
	for range 8 {
		account := newID()
		addSecret(t, replicas[0].db, first, account, "0")
		l.accounts, l.want[account] = append(l.accounts, account), "0"
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	for seed := range uint64(4) {
		running.Go(func() { l.renew(t, replicas, rand.New(rand.NewPCG(seed, 1)), done) })
	}
	database := "--database-url=" + url
	for range 3 {
		mustVault(t, nil, "add", keyset)
		insist(t, "promote", keyset, database)
		before := l.renewed.Load()
		mustVault(t, nil, "reseal", keyset, database)
		insist(t, "retire", keyset, database)
		if keys := keysOf(t, keyset).Keys(); len(keys) != 1 {
			t.Errorf("left: %d", keys)
		}
		for deadline := time.Now().Add(patience); l.renewed.Load() < before+8; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is renewed any more")
			}
		}
	}
	close(done)
	running.Wait()
	last := keysOf(t, keyset)
	for account, want := range l.want {
		if got, err := open(t.Context(), replicas[0].db, vault.Fixed(last), account); err != nil || got != want {
			t.Errorf("account %s: %q, %v; want %q, sealed under the last key", account, got, err, want)
		}
	}
	t.Logf("%d renewals, %d reads", l.renewed.Load(), l.read.Load())
}

// insist calls a command that is refused until every process is so far.
func insist(t *testing.T, args ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c := callVault(t, nil, args...)
		switch {
		case c.code == 0:
			return
		case !strings.Contains(c.stderr, "refused:") || time.Now().After(deadline):
			t.Fatalf("api vault %s: %s", args[0], c.stderr)
		}
	}
}

// renew reads an account's secret at one process or the other, and now and then renews it as a refresh does.
func (l *load) renew(t *testing.T, replicas []*replica, chance *rand.Rand, done chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		default:
		}
		account, r := l.accounts[chance.IntN(len(l.accounts))], replicas[chance.IntN(len(replicas))]
		if err := l.once(t.Context(), r, account, fmt.Sprint(n, "-", chance.Uint64())); err != nil {
			t.Errorf("account %s: %v", account, err)
			return
		}
	}
}

func (l *load) once(ctx context.Context, r *replica, account, next string) error {
	c, err := r.db.Work().Connection(ctx, account)
	if err != nil {
		return err
	}
	if _, err := open(ctx, r.db, r.vault, account); err != nil {
		return err
	}
	l.read.Add(1)
	began, err := r.db.Work().BeginRenewal(ctx, account, c.Version, time.Minute)
	if err != nil || !began {
		return err
	}
	sealed, err := r.vault.Seal([]byte(next), vault.Of{Organization: c.Organization, Account: account, Name: "token"})
	if err != nil {
		return err
	}
	id, _ := vault.KeyID(sealed)
	secrets := []store.SealedSecret{{Name: "token", KeyID: id, Sealed: sealed}}
	l.mu.Lock()
	l.want[account] = next
	l.mu.Unlock()
	stored, err := r.db.Work().EndRenewal(ctx, account, c.Version, secrets, time.Time{}, time.Time{})
	if err == nil && !stored {
		return errors.New("a renewal that nobody else could begin was not stored")
	}
	l.renewed.Add(1)
	return err
}

// open reads what an account's secret is.
func open(ctx context.Context, db *store.DB, v *vault.Vault, account string) (string, error) {
	c, err := db.Work().Connection(ctx, account)
	if err != nil {
		return "", err
	}
	if len(c.Secrets) != 1 {
		return "", fmt.Errorf("%d secrets", len(c.Secrets))
	}
	text, err := v.Open(c.Secrets[0].Sealed, vault.Of{Organization: c.Organization, Account: account, Name: "token"})
	return string(text), err
}
