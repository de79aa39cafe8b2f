// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/connection"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
)

func newKeyset(t *testing.T) (*vault.Keyset, []byte) {
	t.Helper()
	k, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

// openStore opens a database as a process that lives until the test ends, or until stop.
func openStore(t *testing.T, url string, mods ...func(*store.Options)) (db *store.DB, stop func()) {
	t.Helper()
	o := store.Options{
		URL: url, Clock: clock.RealClock{}, NewID: newID, Logger: slog.New(slog.DiscardHandler), DeadAfter: time.Second,
	}
	for _, mod := range mods {
		mod(&o)
	}
	db, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); db.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(func() { stop(); _ = db.Close() })
	select {
	case <-db.Migrated():
	case <-time.After(patience):
		t.Fatal("the database is not migrated")
	}
	return db, stop
}

// addSecret puts a sealed text into the database, as the secret of an account of its own.
func addSecret(t *testing.T, db *store.DB, k *vault.Keyset, account, text string) {
	t.Helper()
	organization := newID()
	sealed, err := vault.Fixed(k).Seal([]byte(text), vault.Of{Organization: organization, Account: account, Name: "token"})
	if err != nil {
		t.Fatal(err)
	}
	view := db.View(&caller.Caller{Organization: caller.Organization{ID: organization}, Environment: key.Live})
	if err := view.Write(t.Context(), func(tx *store.Tx) error {
		a, _, err := tx.PutAccount(store.Account{ID: account, Platform: bluesky.Name, PlatformAccountID: account})
		if err != nil {
			return err
		}
		return tx.PutSecrets(a.ID, []store.SealedSecret{{Name: "token", KeyID: k.Primary(), Sealed: sealed}})
	}); err != nil {
		t.Fatal(err)
	}
}

// TestKeysetFaults: whatever is in the keyset's place, the process starts, says once what is wrong, shows it by a
// metric, and takes in the right one without a restart.
func TestKeysetFaults(t *testing.T) {
	k, whole := newKeyset(t)
	_, foreign := newKeyset(t)
	for name, tc := range map[string]struct {
		text []byte
		want string
	}{
		"missing":            {nil, "no such file"},
		"empty":              {[]byte{}, "it is empty"},
		"truncated":          {whole[:len(whole)/2], "no whole JSON"},
		"not a keyset":       {[]byte(`{"apiVersion": "v1"}`), "no keyset"},
		"of another cluster": {foreign, "it opens none of the 1 secrets in the database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			keyset := filepath.Join(dir, "keyset.json")
			if tc.text != nil {
				if err := os.WriteFile(keyset, tc.text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			db, stop := openStore(t, "sqlite:"+filepath.Join(dir, "live.db"))
			addSecret(t, db, k, newID(), "hunter2")
			stop()
			var log logBuffer
			admin := startAway(t, &log, "--data-dir="+dir, "--vault-keyset="+keyset)
			said := fmt.Sprint(await(t, &log, "the vault has no keyset")["error"])
			if !strings.Contains(said, tc.want) || strings.Contains(said, "AesGcmKey") {
				t.Errorf("it says %q, want %q", said, tc.want)
			}
			if got := metric(t, admin, "lmp_vault_usable"); got != "0" {
				t.Errorf("lmp_vault_usable %s, want 0", got)
			}
			if err := os.WriteFile(keyset+"~", whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(keyset+"~", keyset); err != nil {
				t.Fatal(err)
			}
			await(t, &log, "the vault's keyset is taken in")
			if got := metric(t, admin, "lmp_vault_usable"); got != "1" {
				t.Errorf("lmp_vault_usable %s, want 1", got)
			}
			if said := strings.Count(log.String(), "the vault has no keyset"); said != 1 {
				t.Errorf("said %d times, want once", said)
			}
		})
	}
}

// TestReadyWithItsVault: nobody is sent here who could connect no account yet, and a keyset that is not in order is not
// waited for.
func TestReadyWithItsVault(t *testing.T) {
	dir := t.TempDir()
	keyset := filepath.Join(dir, "keyset.json")
	_, whole := newKeyset(t)
	if err := os.WriteFile(keyset, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	db, _ := openStore(t, "sqlite:"+filepath.Join(dir, "live.db"))
	for name, tc := range map[string]struct {
		environment key.Environment
		path        string
		before      bool // the vault runs
	}{
		"live":          {key.Live, keyset, false},
		"no keyset":     {key.Live, "", false},
		"broken keyset": {key.Live, dir, false},
		"test":          {key.Test, "", true}, // has no use for it
	} {
		p := &publishing{environment: tc.environment, store: db, accounts: new(connection.Keeper)}
		o := options{environment: tc.environment, vault: vaultFlags{keyset: tc.path}}
		if err := p.newVault(o, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if p.ready() != tc.before {
			t.Errorf("%s: ready is %v before the vault runs", name, p.ready())
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		p.vault.Run(ctx) // reads once
		if !p.ready() {
			t.Errorf("%s: not ready", name)
		}
	}
}

// startAway starts a live API whose cluster is away, which is all that the vault needs. It returns where its metrics
// are.
func startAway(t *testing.T, log *logBuffer, args ...string) (admin string) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: u, user: {}}]}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	args = append([]string{
		"--environment=live", "--listen-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0", "--kubeconfig=" + kubeconfig,
	}, args...)
	go func() { ended <- run(ctx, args, noEnv, log, log) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprint("http://", await(t, log, "listening")["metrics"])
}

func metric(t *testing.T, admin, name string) string {
	t.Helper()
	response, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "not there"
}
