// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/media"
)

var errGone = errors.New("the client went away")

const maxSize = 1 << 20

func library(t testing.TB, maxSize int64) (*media.Library, string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "media")
	l, err := media.Open(t.Context(), "file://"+folder, maxSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, folder
}

// files lists all there is below a folder.
func files(t testing.TB, folder string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, folder+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// TestPut: what is taken, as what, and that nothing is left of what is not.
func TestPut(t *testing.T) {
	for _, tc := range samples(t) {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once":              func(r io.Reader) io.Reader { return r },
			"byte by byte":         iotest.OneByteReader,
			"the end with the end": iotest.DataErrReader,
		} {
			if how == "byte by byte" && len(tc.content) > 100_000 {
				continue // nothing more to see, and slow under the race detector
			}
			t.Run(tc.reason+" "+how, func(t *testing.T) {
				l, folder := library(t, maxSize)
				var want media.File
				if tc.err == nil {
					want = media.File{ContentType: tc.contentType, SizeBytes: int64(len(tc.content)), SHA256: sum(tc.content)}
				}
				looked, err := l.Look(reader(bytes.NewReader(tc.content)))
				if diff := cmp.Diff(want, looked); diff != "" || !errors.Is(err, tc.err) {
					t.Errorf("Look: error %v, want %v (-want +got):\n%s", err, tc.err, diff)
				}
				file, err := l.Put(t.Context(), "o/p/key", reader(bytes.NewReader(tc.content)))
				if diff := cmp.Diff(want, file); diff != "" || !errors.Is(err, tc.err) {
					t.Errorf("Put: error %v, want %v (-want +got):\n%s", err, tc.err, diff)
				}
				if tc.err != nil {
					if left := files(t, folder); len(left) != 0 {
						t.Errorf("it leaves %v", left)
					}
					if _, err := l.Get(t.Context(), "o/p/key"); !errors.Is(err, media.ErrNotFound) {
						t.Errorf("Get: %v", err)
					}
					return
				}
				if got := read(t, l, "o/p/key"); !bytes.Equal(got, tc.content) {
					t.Errorf("%d bytes come back, other than the %d that were put", len(got), len(tc.content))
				}
				if left := files(t, folder); !slices.Equal(left, []string{"o/p/key"}) {
					t.Errorf("the folder holds %v", left)
				}
			})
		}
	}
}

func read(t testing.TB, l *media.Library, key string) []byte {
	t.Helper()
	r, err := l.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestPutOfWhatBreaksOff: the error of the reader is returned as it is, wherever it comes.
func TestPutOfWhatBreaksOff(t *testing.T) {
	whole := append(pngOf(t, 40, 30), make([]byte, 500_000)...)
	for _, after := range []int{0, 1, 20, 3000, 3072, 5000, 400_000} {
		l, folder := library(t, maxSize)
		for _, want := range []error{errGone, io.ErrUnexpectedEOF} {
			broken := func() io.Reader { return io.MultiReader(bytes.NewReader(whole[:after]), iotest.ErrReader(want)) }
			//nolint:errorlint // as it is
			if _, err := l.Put(t.Context(), "key", broken()); err != want {
				t.Errorf("Put after %d bytes: %v, want %v", after, err, want)
			}
			//nolint:errorlint // as it is
			if _, err := l.Look(broken()); err != want {
				t.Errorf("Look after %d bytes: %v, want %v", after, err, want)
			}
		}
		if left := files(t, folder); len(left) != 0 {
			t.Errorf("after %d bytes it leaves %v", after, left)
		}
	}
}

// TestPutThatPanics: as the HTTP server's own way to abort a request does.
func TestPutThatPanics(t *testing.T) {
	l, folder := library(t, maxSize)
	func() {
		defer func() { _ = recover() }()
		_, _ = l.Put(t.Context(), "key", io.MultiReader(bytes.NewReader(mp4(10_000)), panics{}))
		t.Error("it did not panic")
	}()
	if left := files(t, folder); len(left) != 0 {
		t.Errorf("it leaves %v", left)
	}
}

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("abort") }

// TestPutCancelled: who has given up finds nothing.
func TestPutCancelled(t *testing.T) {
	l, folder := library(t, maxSize)
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(bytes.NewReader(mp4(200_000)), calls(cancel), bytes.NewReader(make([]byte, 1000)))
	if _, err := l.Put(ctx, "key", r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if left := files(t, folder); len(left) != 0 {
		t.Errorf("it leaves %v", left)
	}
}

type calls func()

func (c calls) Read([]byte) (int, error) { c(); return 0, io.EOF }

// TestKeys: no key leads out of the folder, and none names the folder.
func TestKeys(t *testing.T) {
	l, folder := library(t, maxSize)
	outside := filepath.Join(filepath.Dir(folder), "x")
	if err := os.WriteFile(outside, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"../x", "a/../../x", "..", ".", "", "/", outside, "a//b", "a/", "./x"} {
		if _, err := l.Put(t.Context(), key, bytes.NewReader(mp4(100))); err == nil {
			t.Errorf("%q is put", key)
		}
		if _, err := l.Get(t.Context(), key); !errors.Is(err, media.ErrNotFound) {
			t.Errorf("Get %q: %v", key, err)
		}
		if err := l.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete %q: %v", key, err)
		}
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "outside" {
		t.Errorf("what is outside: %q, %v", content, err)
	}
	if _, err := os.Stat(folder); err != nil || len(files(t, folder)) != 0 {
		t.Errorf("the folder: %v", err)
	}
}

func TestDelete(t *testing.T) {
	l, _ := library(t, maxSize)
	if _, err := l.Put(t.Context(), "a/b", bytes.NewReader(mp4(100))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Delete(t.Context(), "a/b"); err != nil {
			t.Error(err)
		}
		if _, err := l.Get(t.Context(), "a/b"); !errors.Is(err, media.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
	}
}

// TestEach: all old files, page by page, also while they are removed; and none that is new.
func TestEach(t *testing.T) {
	l, folder := library(t, maxSize)
	limit := time.Now()
	var want []string
	for i := range 1234 {
		key := fmt.Sprintf("o%d/%04d", i%3, i)
		path := filepath.Join(folder, key)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte{1}, 0o600)); err != nil {
			t.Fatal(err)
		}
		at := limit.Add(time.Hour)
		if i%10 != 0 {
			at = limit.Add(-time.Hour)
			want = append(want, key)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	err := l.Each(t.Context(), "", limit, func(keys []string) error {
		if len(keys) > 500 {
			t.Errorf("%d at a time", len(keys))
		}
		got = append(got, keys...)
		for _, key := range keys {
			if err := l.Delete(t.Context(), key); err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if err := l.Each(t.Context(), "", limit.Add(2*time.Hour), func([]string) error { return errGone }); !errors.Is(err, errGone) {
		t.Errorf("error %v, want what was returned", err)
	}
}

// TestMemory: 100 MB stream by. All that is allocated counts, not only what is there at once.
func TestMemory(t *testing.T) {
	const size, most = 100 << 20, 4 << 20
	l, _ := library(t, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	file, err := l.Put(t.Context(), "key", io.LimitReader(io.MultiReader(bytes.NewReader(mp4(100)), zeros{}), size))
	runtime.ReadMemStats(&after)
	if err != nil || file.SizeBytes != size {
		t.Fatalf("%+v, %v", file, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > most {
		t.Errorf("%d bytes of memory for a file of %d, want at most %d", n, size, most)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestOpen: what is no place for files.
func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"", "media", "file://", "file://relative/path", "mem://", "https://example.com", "s3://", "file://" + file, "file:///dev/null/x", "%"} {
		if l, err := media.Open(t.Context(), url, maxSize); err == nil {
			t.Errorf("%q is opened", url)
			_ = l.Close()
		}
	}
}
