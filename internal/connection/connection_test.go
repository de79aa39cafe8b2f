// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
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

func (r *rotating) Refresh(ctx context.Context, of platform.Account, with platform.Secrets) (platform.Refreshed, error) {
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
	log      *bytes.Buffer
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
	p := &process{clock: clocktesting.NewFakeClock(now), registry: prometheus.NewRegistry(), log: &bytes.Buffer{}}
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
	who, err := authntest.Caller(a, []string{"Bearer " + plaintext})
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// connect connects an account.
func (p *process) connect(t *testing.T, v *store.View, secrets platform.Secrets, mods ...func(*store.Account)) store.Account {
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

func TestSealedAndOpened(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		p := start(t, url, vault.Fixed(keyset(t)), newRotating())
		v := p.db.View(admitted(t))
		a := p.connect(t, v, first())
		got, err := p.open(t, a.ID).Get(t.Context())
		if err != nil || !cmp.Equal(map[string]string(got), map[string]string(first())) {
			t.Errorf("got other secrets than were sealed, %v", err)
		}
		stored, err := p.db.Work().Connection(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stored.Secrets {
			if bytes.Contains(s.Sealed, []byte("-0")) {
				t.Errorf("%s is stored in clear text", s.Name)
			}
		}
	})
}

// TestTamperedSecrets: whatever is moved or changed in the database opens nothing, and the account says that it has to
// be connected again.
func TestTamperedSecrets(t *testing.T) {
	for name, tamper := range map[string]func(of, other []store.SealedSecret) []store.SealedSecret{
		"of another account": func(_, other []store.SealedSecret) []store.SealedSecret { return other },
		"of another name": func(of, _ []store.SealedSecret) []store.SealedSecret {
			of[0].Sealed, of[1].Sealed = of[1].Sealed, of[0].Sealed
			return of
		},
		"a bit": func(of, _ []store.SealedSecret) []store.SealedSecret {
			of[0].Sealed[len(of[0].Sealed)-1] ^= 1
			return of
		},
		"the key's id": func(of, _ []store.SealedSecret) []store.SealedSecret { of[0].Sealed[2] ^= 1; return of },
		"cut":          func(of, _ []store.SealedSecret) []store.SealedSecret { of[0].Sealed = of[0].Sealed[:9]; return of },
		"empty":        func(of, _ []store.SealedSecret) []store.SealedSecret { of[0].Sealed = []byte{}; return of },
		"none":         func(_, _ []store.SealedSecret) []store.SealedSecret { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), newRotating())
			v := p.db.View(admitted(t))
			a, other := p.connect(t, v, first()), p.connect(t, v, first())
			secretsOf := func(id string) []store.SealedSecret {
				c, err := p.db.Work().Connection(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				return c.Secrets
			}
			changed := tamper(secretsOf(a.ID), secretsOf(other.ID))
			if err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.PutSecrets(a.ID, changed) }); err != nil {
				t.Fatal(err)
			}
			_, failure, err := p.Open(t.Context(), a.ID)
			if err != nil || failure == nil || failure.Code != platform.CodeAuthFailed || failure.Rule != connection.RuleReconnect {
				t.Errorf("opened: %v, %v", failure, err)
			}
			shown, err := v.Account(t.Context(), a.ID)
			if state, why := connection.StateOf(shown, now); state != connection.ReconnectRequired || why == nil || err != nil {
				t.Errorf("state %s, %v, %v", state, why, err)
			}
			if !strings.Contains(p.log.String(), a.ID) || strings.Contains(p.log.String(), "access-0") {
				t.Errorf("log: %s", p.log)
			}
			p.open(t, other.ID)
		})
	}
}

// TestOneRefreshEach: two replicas that want to refresh an account at the same moment do it once, a hundred times.
func TestOneRefreshEach(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		const accounts = 100
		to, v := newRotating(), vault.Fixed(keyset(t))
		a, b := start(t, url, v, to), start(t, url, v, to)
		view := a.db.View(admitted(t))
		ids := make([]string, accounts)
		for i := range ids {
			ids[i] = a.connect(t, view, first(), refreshAt(now)).ID
		}
		var all sync.WaitGroup
		for _, id := range ids {
			for _, p := range []*process{a, b} {
				all.Go(func() {
					got, err := p.open(t, id).Get(t.Context())
					if err != nil || got[platform.SecretAccessToken] != "access-1" {
						t.Errorf("%s: %q, %v", id, got[platform.SecretAccessToken], err)
					}
				})
			}
		}
		all.Wait()
		for _, id := range ids {
			if to.refreshes[id] != 1 {
				t.Errorf("%d refreshes of %s", to.refreshes[id], id)
			}
		}
		if n := to.replays.Load(); n > 0 {
			t.Errorf("%d tokens were used twice", n)
		}
	})
}

// TestRenew: what the platform does not take any more is renewed once, whoever finds out; who comes late gets theirs.
func TestRenew(t *testing.T) {
	to, v := newRotating(), vault.Fixed(keyset(t))
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	a, b := start(t, url, v, to), start(t, url, v, to)
	id := a.connect(t, a.db.View(admitted(t)), first()).ID
	one, two := a.open(t, id), b.open(t, id)
	for _, c := range []platform.Credentials{one, two} {
		stale, err := c.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Renew(t.Context(), stale)
		if err != nil || got[platform.SecretAccessToken] != "access-1" {
			t.Errorf("%q, %v", got[platform.SecretAccessToken], err)
		}
	}
	if to.refreshes[id] != 1 || to.replays.Load() != 0 {
		t.Errorf("%d refreshes, %d replays", to.refreshes[id], to.replays.Load())
	}
}

// TestDueAccountsAreRefreshed: by whatever process looks first, also if the one that was at it has died.
func TestDueAccountsAreRefreshed(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		to, v := newRotating(), vault.Fixed(keyset(t))
		p := start(t, url, v, to)
		view := p.db.View(admitted(t))
		due, later := p.connect(t, view, first(), refreshAt(now)), p.connect(t, view, first(), refreshAt(now.Add(time.Minute)))
		left := p.connect(t, view, first(), refreshAt(now))
		// A process has begun, and died. Its time is over at once, so that the test need not wait for it.
		c, err := p.db.Work().Connection(t.Context(), left.ID)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.db.Work().BeginRenewal(t.Context(), left.ID, c.Version, 0); !ok || err != nil {
			t.Fatal(ok, err)
		}
		p.run(t)
		version := func(id string) int64 {
			c, err := p.db.Work().Connection(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return c.Version
		}
		await(t, func() bool { return version(due.ID) == 1 && version(left.ID) == 1 })
		if version(later.ID) != 0 {
			t.Error("one was refreshed before its time")
		}
		p.clock.SetTime(now.Add(time.Minute))
		await(t, func() bool { return version(later.ID) == 1 })
		if n := to.replays.Load(); n > 0 {
			t.Errorf("%d tokens were used twice", n)
		}
	})
}

func TestRefreshesThatFail(t *testing.T) {
	to, v := newRotating(), vault.Fixed(keyset(t))
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), v, to)
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first(), refreshAt(now))
	connectionOf := func() store.Connection {
		c, err := p.db.Work().Connection(t.Context(), a.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// It passes: the old secrets are given, and the refresh is put off, longer each time.
	to.fail.Store(&platform.Failure{Code: platform.CodeUnavailable, Message: "away"})
	last := time.Duration(0)
	for i := range 8 {
		if got, err := p.open(t, a.ID).Get(t.Context()); err != nil || got[platform.SecretAccessToken] != "access-0" {
			t.Fatalf("%v", err)
		}
		c := connectionOf()
		pause := c.RefreshAt.Sub(p.clock.Now())
		if c.Tries != i+1 || pause < last || pause <= 0 || pause > 15*time.Minute {
			t.Errorf("after %d failures: %d tries, next in %s (before: %s)", i+1, c.Tries, pause, last)
		}
		last = pause
		p.clock.SetTime(c.RefreshAt)
	}
	// It does not: a person is asked.
	to.fail.Store(&platform.Failure{Code: platform.CodeAuthFailed, Message: "revoked", Rule: "x"})
	if _, err := p.open(t, a.ID).Get(t.Context()); !isFailure(err, platform.CodeAuthFailed) {
		t.Errorf("%v", err)
	}
	if c := connectionOf(); c.Reconnect == nil || c.Reconnect.Message != "revoked" || !c.RefreshAt.IsZero() {
		t.Errorf("%+v", c)
	}
	if _, failure, err := p.Open(t.Context(), a.ID); failure == nil || err != nil || failure.Rule != connection.RuleReconnect {
		t.Errorf("%v, %v", failure, err)
	}
	// Connected again, it is as new.
	to.fail.Store(nil)
	p.connect(t, view, first(), func(again *store.Account) { again.PlatformAccountID = a.PlatformAccountID })
	if got, err := p.open(t, a.ID).Get(t.Context()); err != nil || got[platform.SecretAccessToken] != "access-0" {
		t.Errorf("%v", err)
	}
	if n := testutil.CollectAndCount(p.registry, "lmp_account_refreshes_total"); n != 3 {
		t.Errorf("%d outcomes are there, want refreshed, platform_unavailable and platform_auth_failed", n)
	}
}

// TestConnectedAgainDuringARefresh: what the person has just given counts, and not what the refresh brings.
func TestConnectedAgainDuringARefresh(t *testing.T) {
	to := newRotating()
	to.entered, to.goOn = make(chan struct{}, 1), make(chan struct{})
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), to)
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first(), refreshAt(now))
	got := make(chan string, 1)
	go func() {
		secrets, err := p.open(t, a.ID).Get(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- secrets[platform.SecretAccessToken]
	}()
	<-to.entered
	p.connect(t, view, platform.Secrets{platform.SecretAccessToken: "given"}, func(again *store.Account) {
		again.PlatformAccountID = a.PlatformAccountID
	})
	close(to.goOn)
	if secret := <-got; secret != "given" {
		t.Errorf("%q is used, want what was given", secret)
	}
}

// TestWithoutAKeyset: nothing is worse for it than that it has to wait.
func TestWithoutAKeyset(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "test.db")
	p := start(t, url, vault.Fixed(keyset(t)), newRotating())
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first(), refreshAt(now))
	none, err := vault.New(vault.Options{
		Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	without := start(t, url, none, newRotating())
	if without.Usable() || !p.Usable() {
		t.Error("usable without a keyset, or not with one")
	}
	if _, failure, err := without.Open(t.Context(), a.ID); failure == nil || err != nil || failure.Code != platform.CodeUnavailable {
		t.Errorf("%v, %v", failure, err)
	}
	other := start(t, url, vault.Fixed(keyset(t)), newRotating()) // of another cluster
	if _, failure, err := other.Open(t.Context(), a.ID); failure == nil || err != nil || failure.Code != platform.CodeUnavailable {
		t.Errorf("%v, %v", failure, err)
	}
	if shown, err := view.Account(t.Context(), a.ID); err != nil || shown.Reconnect != nil {
		t.Errorf("the account pays for it: %+v, %v", shown, err)
	}
	p.open(t, a.ID)
}

func TestStateOf(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		reason string
		a      store.Account
		want   connection.State
	}{
		{"it has no end", store.Account{}, connection.Active},
		{"its end is far", store.Account{TokenExpiresAt: now.Add(14*day + time.Second)}, connection.Active},
		{"its end is near", store.Account{TokenExpiresAt: now.Add(14*day - time.Second)}, connection.Expiring},
		{"its end is a second away", store.Account{TokenExpiresAt: now.Add(time.Second)}, connection.Expiring},
		{"it has ended", store.Account{TokenExpiresAt: now}, connection.ReconnectRequired},
		{"it was refused", store.Account{Reconnect: &platform.Failure{}}, connection.ReconnectRequired},
		{"it was refused, and will end", store.Account{
			Reconnect: &platform.Failure{}, TokenExpiresAt: now.Add(day),
		}, connection.ReconnectRequired},
	} {
		got, why := connection.StateOf(tc.a, now)
		if got != tc.want || (why != nil) != (got == connection.ReconnectRequired) {
			t.Errorf("%s: %s, %v, want %s", tc.reason, got, why, tc.want)
		}
	}
}

// TestCounted: each state has a number, also 0.
func TestCounted(t *testing.T) {
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), newRotating())
	view := p.db.View(admitted(t))
	p.connect(t, view, first())
	p.connect(t, view, first())
	p.connect(t, view, first(), func(a *store.Account) { a.TokenExpiresAt = now.Add(time.Hour) })
	p.run(t)
	want := `
# HELP lmp_accounts Connected accounts by platform and state, when last counted. Each replica counts all of them.
# TYPE lmp_accounts gauge
lmp_accounts{platform="bluesky",state="active"} 2
lmp_accounts{platform="bluesky",state="expiring"} 1
lmp_accounts{platform="bluesky",state="reconnect_required"} 0
`
	await(t, func() bool {
		return testutil.GatherAndCompare(p.registry, strings.NewReader(want), "lmp_accounts") == nil
	})
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

// leaving is a platform that is told of accounts that were disconnected.
type leaving struct {
	*rotating
	told chan string
}

func (l leaving) Revoke(_ context.Context, of platform.Account, with platform.Secrets) error {
	l.told <- of.ID + " " + with[platform.SecretRefreshToken]
	return errors.New("away")
}

// TestGoodbye: the platform is told of an account that was disconnected, when nothing of it is left here, and also if
// the process is told to end meanwhile.
func TestGoodbye(t *testing.T) {
	to := leaving{newRotating(), make(chan string, 1)}
	p := start(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"), vault.Fixed(keyset(t)), to)
	view := p.db.View(admitted(t))
	a := p.connect(t, view, first())
	done := p.Disconnecting(t.Context(), a.ID)
	if err := view.Write(t.Context(), func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) }); err != nil {
		t.Fatal(err)
	}
	done()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.Run(ctx)
	if told := <-to.told; told != a.ID+" refresh-0" {
		t.Errorf("told of %q", told)
	}
	if !strings.Contains(p.log.String(), "could not be told") || strings.Contains(p.log.String(), "refresh-0") {
		t.Errorf("log: %s", p.log)
	}
	p.Disconnecting(t.Context(), newID())() // of one that is gone, nothing
}
