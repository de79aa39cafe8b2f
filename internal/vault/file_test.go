// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFiles(t *testing.T) {
	first, second := newKeysetOf(t), newKeysetOf(t)
	path := filepath.Join(t.TempDir(), "keyset.json")
	holds := func(want *Keyset) {
		t.Helper()
		got, err := ReadFile(path, nil)
		if err != nil || got.Primary() != want.Primary() {
			t.Errorf("the file holds %v, %v; want %v", got, err, want)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v; want its owner's alone", info.Mode(), err)
		}
		if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
			t.Errorf("%d files, want the keyset alone", len(files))
		}
	}
	if err := ReplaceFile(path, first, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there was replaced: %v", err)
	}
	if err := CreateFile(path, first, nil); err != nil {
		t.Fatal(err)
	}
	holds(first)
	if err := CreateFile(path, second, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there was made again: %v", err)
	}
	holds(first)
	killed := errors.New("killed")
	if err := writeFile(path, second, nil, func(string, string) error { return killed }); !errors.Is(err, killed) {
		t.Errorf("%v, want killed", err)
	}
	holds(first)
	if err := ReplaceFile(path, second, nil); err != nil {
		t.Fatal(err)
	}
	holds(second)
	kms := testKMS(t)
	if err := ReplaceFile(path, first, kms); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path, nil); !errors.Is(err, ErrKeyset) {
		t.Errorf("read without the KMS: %v", err)
	}
	if got, err := ReadFile(path, kms); err != nil || got.Primary() != first.Primary() {
		t.Errorf("%v, %v", got, err)
	}
}
