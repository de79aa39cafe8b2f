// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// syncing returns a view of a database that has do called, from now on, for what its commits wait for.
func syncing(t *testing.T, url string, do func(path string) error) *store.View {
	t.Helper()
	var ready atomic.Bool
	db, _ := open(t, url, clocktesting.NewFakeClock(now), func(o *store.Options) {
		o.SyncFile = func(path string) error {
			if !ready.Load() {
				return nil
			}
			return do(path)
		}
	})
	ready.Store(true)
	return viewOf(t, db)
}

// TestWhatIsCommittedLasts: a write returns when SQLite's log is on disk, wherever that is; a claim does not wait for
// it, and what can be found out again does not either, but it is seen to.
func TestWhatIsCommittedLasts(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, "link.db")
	if err := os.MkdirAll(filepath.Join(folder, "elsewhere"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("elsewhere", "real.db"), link); err != nil {
		t.Fatal(err)
	}
	synced := make(chan string, 10)
	v := syncing(t, "sqlite:"+link, func(path string) error {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		synced <- path
		return nil
	})
	add := func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err }
	write(t, v, add)
	actual, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Fatal(err)
	}
	if len(synced) != 1 || <-synced != actual+"-wal" {
		t.Errorf("a write has waited for %d files, or another one", len(synced))
	}
	claim(t, v, request)
	if len(synced) != 0 {
		t.Error("a claim has waited for the disk")
	}
	if err := v.WriteSoon(t.Context(), add); err != nil {
		t.Fatal(err)
	}
	select {
	case path := <-synced:
		if path != actual+"-wal" {
			t.Errorf("%s was synced", path)
		}
	case <-time.After(time.Minute):
		t.Error("nobody has seen to it that it lasts")
	}
}

// Without a log, a transaction is in the file, and over when its journal is not in the folder any more.
func TestWhatIsCommittedLastsWithoutALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var synced []string
	v := syncing(t, "sqlite:"+path, func(path string) error {
		if strings.HasSuffix(path, "-wal") {
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		synced = append(synced, path)
		return nil
	})
	write(t, v, func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err })
	if want := []string{filepath.Dir(path)}; !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
}

// A disk that fails is an outage, and nobody is told that what they have written lasts.
func TestADiskThatFails(t *testing.T) {
	broken := errors.New("input/output error")
	v := syncing(t, "sqlite:"+filepath.Join(t.TempDir(), "db"), func(string) error { return broken })
	err := v.Write(t.Context(), func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err })
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
