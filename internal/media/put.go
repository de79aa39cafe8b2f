// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"context"
	"fmt"
	"io"
)

// File is what a file turned out to be. All three follow from the bytes alone, so two uploads of one file give the
// same.
type File struct {
	ContentType string // one of Types, by its own bytes; what the client claims does not count
	SizeBytes   int64
	SHA256      string // hex
}

// Put streams a file into the library, under a key that nothing has yet. Afterwards all of it is there or, with an
// error, nothing. The error is one of this package or what r returned. Memory is bounded, whatever the file's size. On
// a disk it is there for good: file and folder are synced before it returns, as the row that follows is.
func (l *Library) Put(ctx context.Context, key string, r io.Reader) (File, error) {
	if !validKey(key) {
		return File{}, fmt.Errorf("write file %q: that is no key", key)
	}
	in := newUpload(r, l.maxSize)
	defer in.close()
	contentType, err := in.look()
	if err != nil {
		return File{}, err
	}
	if err := l.checkFolder(); err != nil {
		return File{}, l.storageError("write", key, err)
	}
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	d, err := l.draft(ctx, key, contentType)
	if err != nil {
		return File{}, l.storageError("write", key, err)
	}
	done := false
	defer func() { // deferred, so that a reader that panics leaves nothing behind either
		if !done {
			abort() // before discard, which would keep the file otherwise
			d.discard()
			// Only the folder could not be made to last: the file has its name, and could be read.
			if d.named {
				_ = l.bucket.Delete(context.WithoutCancel(ctx), key)
			}
		}
	}()
	// The hash is taken of the bytes on their way, and not of what was stored: what a disk makes of them is not looked at
	// again.
	file, err := in.copyTo(d.writer)
	file.ContentType = contentType
	if err == nil {
		err = d.keep()
		done = err == nil
	}
	switch {
	case in.failed() != nil: // first: whatever the storage says of a file that broke off is a consequence
		return File{}, in.failed()
	case err != nil:
		return File{}, l.storageError("write", key, err)
	}
	return file, nil
}

// Look returns what Put would, and keeps nothing. A request that is sent again is compared with the first one by this.
// All of the file is read, as its hash is of all of it.
func (l *Library) Look(r io.Reader) (File, error) {
	in := newUpload(r, l.maxSize)
	defer in.close()
	contentType, err := in.look()
	if err != nil {
		return File{}, err
	}
	file, _ := in.copyTo(io.Discard) // which does not fail: an error is the client's
	if err := in.failed(); err != nil {
		return File{}, err
	}
	file.ContentType = contentType
	return file, nil
}
