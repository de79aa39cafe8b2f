// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/letmepost/letmepost-operator/internal/media"
)

// bucket is as much of S3 as one small object needs: what has been put whole, by path.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
	full    bool
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	content, there := b.objects[r.URL.Path]
	switch {
	case r.Method == http.MethodPut && b.full:
		w.WriteHeader(http.StatusInsufficientStorage)
	case r.Method == http.MethodPut:
		if body, err := io.ReadAll(r.Body); err == nil {
			b.objects[r.URL.Path] = body
		}
	case r.Method == http.MethodDelete:
		delete(b.objects, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case !there:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
	default:
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Header().Set("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
		_, _ = w.Write(content)
	}
}

// TestBucket: an S3-compatible server behaves like a folder.
func TestBucket(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_MAX_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	b := &bucket{objects: map[string][]byte{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	url := "s3://media?region=us-east-1&use_path_style=true&request_checksum_calculation=when_required&endpoint=" + server.URL
	l, err := media.Open(t.Context(), url, maxSize)
	if err != nil {
		t.Fatal(err)
	}
	picture := pngOf(t, 40, 30)
	file, err := l.Put(t.Context(), "o/p/key", bytes.NewReader(picture))
	if want := (media.File{ContentType: "image/png", SizeBytes: int64(len(picture)), SHA256: sum(picture)}); err != nil || file != want {
		t.Fatalf("%+v, %v; want %+v", file, err, want)
	}
	if got := read(t, l, "o/p/key"); !bytes.Equal(got, picture) {
		t.Errorf("%d bytes come back, other than the %d that were put", len(got), len(picture))
	}
	if _, err := l.Get(t.Context(), "o/p/other"); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	r := io.MultiReader(bytes.NewReader(mp4(100_000)), iotest.ErrReader(errGone))
	if _, err := l.Put(t.Context(), "o/p/broken", r); !errors.Is(err, errGone) {
		t.Errorf("Put of what breaks off: %v", err)
	}
	for range 2 {
		if err := l.Delete(t.Context(), "o/p/key"); err != nil {
			t.Error(err)
		}
	}
	b.mu.Lock()
	if b.full = true; len(b.objects) != 0 {
		t.Errorf("there is left: %v", len(b.objects))
	}
	b.mu.Unlock()
	_, err = l.Put(t.Context(), "o/p/key", bytes.NewReader(picture))
	if !errors.Is(err, media.ErrUnavailable) || !errors.Is(err, media.ErrFull) || !strings.Contains(err.Error(), "o/p/key") {
		t.Errorf("Put into a full bucket: %v", err)
	}
	server.Close()
	if _, err := l.Get(t.Context(), "o/p/key"); !errors.Is(err, media.ErrUnavailable) || errors.Is(err, media.ErrFull) {
		t.Errorf("Get from a bucket that is away: %v", err)
	}
}
