// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/media"
)

// TestNote is there whole, in place of the one before, or that one stays.
func TestNote(t *testing.T) {
	l, folder := library(t, maxSize)
	for _, content := range []string{"first", "", "second"} {
		if err := l.Note(t.Context(), "o/.note", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got := read(t, l, "o/.note"); string(got) != content {
			t.Errorf("it says %q, want %q", got, content)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Note(gone, "o/.note", []byte("third")); err == nil {
		t.Error("written for who has gone")
	}
	if got := read(t, l, "o/.note"); string(got) != "second" {
		t.Errorf("after a failure it says %q", got)
	}
	if left := files(t, folder); !slices.Equal(left, []string{"o/.note"}) {
		t.Errorf("the folder holds %v", left)
	}
	if err := l.Note(t.Context(), "../x", nil); err == nil {
		t.Error("written outside of the library")
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := l.Note(t.Context(), "o/.note", nil); !errors.Is(err, media.ErrUnavailable) {
		t.Errorf("without its folder: %v", err)
	}
}
