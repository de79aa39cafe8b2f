// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"gocloud.dev/blob"
)

const (
	copyBuffer = 64 << 10
	// partSize is the least that S3 takes for all but the last part of a file; one part is in memory at a time.
	partSize = 5 << 20
)

// File is what a file turned out to be.
type File struct {
	ContentType string // one of Types, by its own bytes
	SizeBytes   int64
	SHA256      string // hex
}

// Put streams a file into the library, under a key that nothing has yet. It is there whole, or, with an error, not at
// all. The error is one of the above, or what r returned. Memory is bounded, whatever the size.
func (l *Library) Put(ctx context.Context, key string, r io.Reader) (File, error) {
	if !valid(key) {
		return File{}, fmt.Errorf("write file %q: that is no key", key)
	}
	in := newSource(r, l.maxSize)
	contentType, err := in.look()
	if err != nil {
		return File{}, err
	}
	if err := l.there(); err != nil {
		return File{}, l.failure("write", key, err)
	}
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	d, err := l.draft(ctx, key, contentType)
	if err != nil {
		return File{}, l.failure("write", key, err)
	}
	done := false
	defer func() { // also if r panics
		if !done {
			abort()
			d.discard()
			if d.named {
				_ = l.bucket.Delete(context.WithoutCancel(ctx), key)
			}
		}
	}()
	file, err := in.copyTo(d.writer)
	file.ContentType = contentType
	if err == nil {
		err = d.keep()
		done = err == nil
	}
	switch {
	case in.failed() != nil:
		return File{}, in.failed()
	case err != nil:
		return File{}, l.failure("write", key, err)
	}
	return file, nil
}

// Look is Put without keeping anything.
func (l *Library) Look(r io.Reader) (File, error) {
	in := newSource(r, l.maxSize)
	contentType, err := in.look()
	if err != nil {
		return File{}, err
	}
	file, _ := in.copyTo(io.Discard)
	if err := in.failed(); err != nil {
		return File{}, err
	}
	file.ContentType = contentType
	return file, nil
}

// draft is a file of the library that has no name yet.
type draft struct {
	writer  *blob.Writer
	temp    *os.File // what it is meanwhile; nil: it is in a bucket
	library *Library
	named   bool
}

func (l *Library) draft(ctx context.Context, key, contentType string) (*draft, error) {
	d := &draft{library: l}
	writer, err := l.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: contentType, BufferSize: partSize, MaxConcurrency: 1,
		BeforeWrite: func(as func(any) bool) error {
			as(&d.temp)
			return nil
		},
	})
	d.writer = writer
	return d, err
}

// keep gives the file its name, when its bytes are where they survive a power failure, and sees to it that the name
// does too: a row of the database will say that it is there.
func (d *draft) keep() error {
	if d.temp != nil {
		if err := d.temp.Sync(); err != nil {
			return err
		}
	}
	if err := d.writer.Close(); err != nil || d.temp == nil {
		return err
	}
	d.named = true
	return d.library.syncFolders(filepath.Dir(d.temp.Name()))
}

// syncFolders makes what is named in a folder last, and the folder itself, and those that it is in, which may all be
// new.
func (l *Library) syncFolders(folder string) error {
	for root := filepath.Clean(l.folder); ; folder = filepath.Dir(folder) {
		if err := l.syncFolder(folder); err != nil {
			return err
		}
		if len(folder) <= len(root) {
			return nil
		}
	}
}

// syncFolder makes the names in a folder last. File systems that can't be told to, as over some networks, have it their
// own way.
func syncFolder(folder string) error {
	f, err := os.Open(filepath.Clean(folder))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// discard removes what there is of the file. The context of its writer must have ended, so that it is not kept after
// all.
func (d *draft) discard() {
	_ = d.writer.Close()
	if d.temp != nil {
		// A file that could not be closed, as with a full network file system, has been left by the line above.
		_ = os.Remove(d.temp.Name())
	}
}

// copyTo streams what is left to w, and says how much that was, with what hash. The error is w's or the source's.
func (s *source) copyTo(w io.Writer) (File, error) {
	hash := sha256.New()
	// Hidden, so that nobody else's idea of a buffer is used.
	plain := struct{ io.Writer }{io.MultiWriter(hash, w)}
	n, err := io.CopyBuffer(plain, struct{ io.Reader }{s.rest}, make([]byte, copyBuffer))
	if err == nil && s.failed() != nil {
		err = s.failed()
	}
	return File{SizeBytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, err
}

// source is the bytes of a file as they come. It remembers what ended them: their errors are told apart from the
// storage's by that.
type source struct {
	from io.Reader
	left int64 // bytes that may still come
	err  error

	rest io.Reader // of what has been looked at, from the beginning
}

func newSource(r io.Reader, maxSize int64) *source { return &source{from: r, left: maxSize} }

// Read reads from the client.
func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.from.Read(p)
	if s.left -= int64(n); s.left < 0 {
		n, err = 0, ErrTooLarge
	}
	s.err = err
	return n, err
}

// failed returns why not all of the file has come; nil: it has, or is still coming.
func (s *source) failed() error {
	if s.err == nil || errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}
