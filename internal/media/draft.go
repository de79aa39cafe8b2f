// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"gocloud.dev/blob"
)

// partSize is the size in bytes of the parts in which a file goes to a bucket. S3 takes no smaller ones, except for the
// last; one part at a time is in memory.
const partSize = 5 << 20

// draft is a file of the library that has no name yet: nobody can read it before keep, and a crash leaves nothing under
// its key.
type draft struct {
	writer  *blob.Writer
	temp    *os.File // where it is meanwhile; nil: in a bucket, which keeps the parts to itself
	library *Library
	named   bool // it has its name, and may have to lose it again
}

// draft begins a file. If ctx has ended by the time at which the writer is closed, nothing is kept. One part at a time
// (MaxConcurrency), because each that is under way holds partSize in memory.
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

// keep gives the file its name. A row of the database will say that the file is there, so both must survive a power
// failure: first the bytes, then the name. A bucket has no second step: when it has confirmed the upload, it has it.
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

// syncFolders makes a file's name last. A name is an entry of its folder, and that folder is one of its parent's, up to
// the library's own: an upload may be the first that needs any of them.
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

// syncFolder makes the names in one folder last. Some file systems, such as those over a network, can't be asked to:
// for them, that a name was made has to be enough.
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

// discard removes what there is of the file. The context of its writer must have ended before: closing it would
// otherwise keep the file after all. Errors are not told: what is left is swept up, or was never complete.
func (d *draft) discard() {
	_ = d.writer.Close()
	if d.temp != nil {
		// Close leaves a file that it could not complete, as on a network file system that is full.
		_ = os.Remove(d.temp.Name())
	}
}
