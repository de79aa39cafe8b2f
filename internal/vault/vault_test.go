// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"
)

// file is a vault's file, with the vault, its clock and its log.
type file struct {
	*Vault
	path  string
	clock *clocktesting.FakeClock
	log   *bytes.Buffer
	reg   *prometheus.Registry
}

func newFile(t *testing.T, text []byte) *file {
	t.Helper()
	f := &file{
		path:  filepath.Join(t.TempDir(), "keyset.json"),
		clock: clocktesting.NewFakeClock(time.Unix(1, 0)), log: new(bytes.Buffer), reg: prometheus.NewRegistry(),
	}
	if text != nil {
		f.write(t, text)
	}
	var err error
	f.Vault, err = New(Options{
		Path: f.path, Clock: f.clock, Logger: slog.New(slog.NewTextHandler(f.log, nil)), Registerer: f.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *file) write(t *testing.T, text []byte) {
	t.Helper()
	if err := os.WriteFile(f.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *file) gauge(t *testing.T, name string) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestWithoutKeyset(t *testing.T) {
	whole := encode(t, newKeysetOf(t), nil)
	for _, tc := range []struct {
		reason string
		text   []byte
		want   string
	}{
		{"missing", nil, "no such file"},
		{"empty", []byte{}, "it is empty"},
		{"truncated", whole[:40], "no whole JSON"},
		{"not a keyset", []byte("{}"), "no keyset"},
	} {
		f := newFile(t, tc.text)
		_, sealErr := f.Seal(nil, Of{})
		_, openErr := f.Open(nil, Of{})
		_, keysetErr := f.Keyset()
		for _, err := range []error{sealErr, openErr, keysetErr} {
			if !errors.Is(err, ErrNoKeyset) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want ErrNoKeyset with %q", tc.reason, err, tc.want)
			}
		}
		f.refresh()
		if said := strings.Count(f.log.String(), "the vault has no keyset"); said != 1 {
			t.Errorf("%s: said %d times, want once:\n%s", tc.reason, said, f.log)
		}
		if f.gauge(t, "lmp_vault_usable") != 0 || f.gauge(t, "lmp_vault_keys") != 0 {
			t.Errorf("%s: the metric says that it is usable", tc.reason)
		}
		f.write(t, whole)
		if f.refresh(); f.gauge(t, "lmp_vault_usable") != 1 {
			t.Errorf("%s: mended, and not taken in", tc.reason)
		}
	}
	none, err := New(Options{
		Clock:  clocktesting.NewFakeClock(time.Unix(1, 0)),
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Seal(nil, Of{}); !errors.Is(err, ErrNoKeyset) || !strings.Contains(err.Error(), "--vault-keyset") {
		t.Errorf("no flag: %v", err)
	}
}

// TestKeysetOfAnotherInstallation: it would seal, and open nothing.
func TestKeysetOfAnotherInstallation(t *testing.T) {
	first := newKeysetOf(t)
	added, id, err := first.Add()
	if err != nil {
		t.Fatal(err)
	}
	foreign := newKeysetOf(t)
	for _, tc := range []struct {
		reason     string
		needs      map[uint32]int
		last, next *Keyset
		want       string // in the error; "": it is taken
	}{
		{"an empty database", nil, nil, first, ""},
		{"all there", map[uint32]int{first.Primary(): 2}, nil, added, ""},
		{"some are closed for good", map[uint32]int{first.Primary(): 2, 9: 5}, nil, first, ""},
		{"foreign", map[uint32]int{first.Primary(): 2, id: 1}, nil, foreign, "none of the 3 secrets"},
		{"foreign, later", map[uint32]int{first.Primary(): 2}, first, foreign, fmt.Sprintf("no key %d any more", first.Primary())},
		{
			"a key that is needed was taken out",
			map[uint32]int{first.Primary(): 2, id: 1},
			added, first,
			fmt.Sprintf("no key %d any more, under which 1 secrets", id),
		},
		{"a key that nobody needs was taken out", map[uint32]int{first.Primary(): 2, 9: 1}, added, first, ""},
	} {
		err := tc.next.serves(tc.needs, tc.last)
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrKeyset) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
	away := errors.New("away")
	needs := away
	v, err := New(Options{
		Path: filepath.Join(t.TempDir(), "keyset.json"), Clock: clocktesting.NewFakeClock(time.Unix(1, 0)),
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Needs: func() (map[uint32]int, error) { return map[uint32]int{first.Primary(): 1}, needs },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason  string
		do      func()
		want    error // nil: it is usable
		decided bool
	}{
		{"nothing is read before the database is there", func() {}, ErrNoKeyset, false},
		{"there is no file", func() { v.refresh() }, fs.ErrNotExist, true},
		{"the database is away", func() { replace(t, v.options.Path, encode(t, first, nil)); v.refresh() }, away, false},
		{"it is back", func() { needs = nil; v.refresh() }, nil, true},
		{"it goes away again: what was compared stays", func() { needs = away; v.refresh() }, nil, true},
		{
			"a foreign keyset is put in place",
			func() { needs = nil; replace(t, v.options.Path, encode(t, foreign, nil)); v.refresh() },
			nil, true,
		},
	} {
		if tc.do(); v.Decided() != tc.decided {
			t.Errorf("%s: decided is %v", tc.reason, v.Decided())
		}
		if _, err := v.Seal(nil, Of{}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.reason, err, tc.want)
		}
	}
	if k, err := v.Keyset(); err != nil || k.Primary() != first.Primary() {
		t.Errorf("seals under %v, %v; want the keyset of this database", k, err)
	}
}

// TestFollowsItsFile: what the kubelet renews is taken in, and what is broken is not.
func TestFollowsItsFile(t *testing.T) {
	first := newKeysetOf(t)
	added, id, err := first.Add()
	if err != nil {
		t.Fatal(err)
	}
	f := newFile(t, encode(t, first, nil))
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(t.Context()) }()
	t.Cleanup(func() { <-ended })
	step := func(text []byte, done func() bool) {
		t.Helper()
		f.write(t, text)
		for deadline := time.Now().Add(30 * time.Second); !done(); {
			if f.clock.Step(rereadEvery); time.Now().After(deadline) {
				t.Fatalf("not taken in:\n%v", f.now())
			}
		}
	}
	has := func(want uint32) func() bool {
		return func() bool { k, err := f.Keyset(); return err == nil && k.Has(want) }
	}
	step(encode(t, added, nil), has(id))
	at := f.now()
	step([]byte("{"), func() bool { return f.now() != at })
	if !has(id)() {
		t.Error("a broken file took the keyset away")
	}
	promoted, err := added.Promote(id)
	if err != nil {
		t.Fatal(err)
	}
	step(encode(t, promoted, nil), func() bool { k, err := f.Keyset(); return err == nil && k.Primary() == id })
}

// TestUnknownKeyIsLookedFor: another process may seal under a key before this one has looked at its file again.
func TestUnknownKeyIsLookedFor(t *testing.T) {
	first := newKeysetOf(t)
	f := newFile(t, encode(t, first, nil))
	added, id, err := first.Add()
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := added.Promote(id)
	if err != nil {
		t.Fatal(err)
	}
	of := Of{"org", "account", "name"}
	sealed, err := promoted.seal([]byte("new"), of)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(sealed, of); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("%v, want ErrUnknownKey", err)
	}
	f.write(t, encode(t, promoted, nil))
	if plain, err := f.Open(sealed, of); err != nil || string(plain) != "new" {
		t.Errorf("%q, %v: the file has the key", plain, err)
	}
}

// TestSealAfterAPause: a process that slept through a promotion does not seal under the old key.
func TestSealAfterAPause(t *testing.T) {
	first := newKeysetOf(t)
	f := newFile(t, encode(t, first, nil))
	second := newKeysetOf(t)
	f.write(t, encode(t, second, nil))
	f.clock.Step(staleAfter + time.Second)
	sealed, err := f.Seal(nil, Of{})
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := KeyID(sealed); id != second.Primary() {
		t.Errorf("sealed under %d, want %d", id, second.Primary())
	}
}

// TestConcurrency is for the race detector: everything at once, while the file changes.
func TestConcurrency(t *testing.T) {
	k := newKeysetOf(t)
	f := newFile(t, encode(t, k, nil))
	of := Of{"org", "account", "name"}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				sealed, err := f.Seal([]byte("x"), of)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := f.Open(sealed, of); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		added, id, err := k.Add()
		if err != nil {
			t.Fatal(err)
		}
		if k, err = added.Promote(id); err != nil {
			t.Fatal(err)
		}
		replace(t, f.path, encode(t, k, nil))
		f.refresh()
	}
	all.Wait()
}

// replace puts a file in place at once, as the kubelet does.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+"~", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}
