// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/media"
)

// TestPutSyncsNames: after a power failure a file has its name, in folders that are there, or Put has not said that it
// is kept.
func TestPutSyncsNames(t *testing.T) {
	l, folder := library(t, maxSize)
	var synced []string
	l.OnSync(func(path string) error {
		if _, err := os.Stat(filepath.Join(folder, "live/o/key")); err != nil {
			t.Errorf("%s is synced before the file has its name: %v", path, err)
		}
		synced = append(synced, path)
		return nil
	})
	if _, err := l.Put(t.Context(), "live/o/key", bytes.NewReader(mp4(100))); err != nil {
		t.Fatal(err)
	}
	want := []string{folder + "/live/o", folder + "/live", folder}
	if diff := cmp.Diff(want, synced); diff != "" {
		t.Errorf("synced folders (-want +got):\n%s", diff)
	}

	broken := errors.New("input/output error")
	l.OnSync(func(string) error { return broken })
	if _, err := l.Put(t.Context(), "live/o/other", bytes.NewReader(mp4(100))); !errors.Is(err, media.ErrUnavailable) || !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"live/o/key"}, files(t, folder)); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
}
