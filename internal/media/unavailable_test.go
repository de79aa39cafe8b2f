// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/letmepost/letmepost-operator/internal/media"
)

// envFull makes the test binary the process whose files may not grow.
const envFull = "LMP_TEST_FILES_MAY_NOT_GROW"

// TestFull: a disk that takes no more, in a process of its own, because the kernel's limit on the size of files is for
// all of a process. It is what needs no rights anywhere, and fails where a full disk does: in the middle of a write.
func TestFull(t *testing.T) {
	if os.Getenv(envFull) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFull$", "-test.v")
		child.Env = append(os.Environ(), envFull+"=1")
		if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestFull")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	const most = 256 << 10
	l, folder := library(t, maxSize)
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }()
	for _, size := range []int{most + 1, 2 * most, maxSize} {
		unavailable(t, l, folder, "o/key", mp4(size), syscall.EFBIG)
	}
	// The client's own error is told, even if there was no room either.
	r := io.MultiReader(bytes.NewReader(mp4(most)), iotest.ErrReader(errGone))
	if _, err := l.Put(t.Context(), "o/key", r); !errors.Is(err, errGone) {
		t.Errorf("error %v, want the client's", err)
	}
	if _, err := l.Put(t.Context(), "o/key", bytes.NewReader(mp4(most))); err != nil {
		t.Errorf("what there is room for: %v", err)
	}
}

// unavailable checks that a file can't be put, why, and that nothing is left of it.
func unavailable(t *testing.T, l *media.Library, folder, key string, content []byte, why error) {
	t.Helper()
	file, err := l.Put(t.Context(), key, bytes.NewReader(content))
	if !errors.Is(err, media.ErrUnavailable) || !errors.Is(err, why) || file != (media.File{}) {
		t.Errorf("%+v, %v; want %v because of %v", file, err, media.ErrUnavailable, why)
	}
	if isFull := errors.Is(why, syscall.EFBIG); errors.Is(err, media.ErrFull) != isFull {
		t.Errorf("%v is said to be full: %t", err, !isFull)
	}
	if _, err := os.Stat(folder); err != nil {
		return
	}
	if left := files(t, folder); len(left) != 0 {
		t.Errorf("it leaves %v", left)
	}
}

// TestFolderIsAway: its volume is not mounted, say. What is in it is not gone, and nothing new is put in its place.
func TestFolderIsAway(t *testing.T) {
	l, folder := library(t, maxSize)
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	unavailable(t, l, folder, "o/key", mp4(100), os.ErrNotExist)
	if _, err := l.Get(t.Context(), "o/key"); !errors.Is(err, media.ErrUnavailable) {
		t.Errorf("Get: %v", err)
	}
	if err := l.Delete(t.Context(), "o/key"); !errors.Is(err, media.ErrUnavailable) {
		t.Errorf("Delete: %v", err)
	}
	if err := l.Each(t.Context(), "", time.Now(), func([]string) error { return nil }); !errors.Is(err, media.ErrUnavailable) {
		t.Errorf("Each: %v", err)
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("the folder has been made anew")
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(t.Context(), "o/key", bytes.NewReader(mp4(100))); err != nil {
		t.Errorf("now that it is back: %v", err)
	}
}

// TestNoRoomForTheName: what is in the way of a file's folder, or of the file itself.
func TestNoRoomForTheName(t *testing.T) {
	l, folder := library(t, maxSize)
	if err := os.MkdirAll(filepath.Join(folder, "taken", "by-a-folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	unavailable(t, l, folder, "taken", mp4(100), syscall.EEXIST)
	if _, err := l.Put(t.Context(), "file", bytes.NewReader(mp4(100))); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Put(t.Context(), "file/key", bytes.NewReader(mp4(100))); !errors.Is(err, media.ErrUnavailable) {
		t.Errorf("below a file: %v", err)
	}
}
