// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// sqliteSync makes last what was committed to a file of SQLite's.
//
// SQLite would do it itself, with synchronous=FULL: within the commit, while nobody else can write, and for a whole
// connection, so that a claim, which need not wait for the disk, would have to set it before and back after. Here each
// caller waits for what it has committed while the next one writes. A sync covers all that was committed before it,
// since the log is one file: nothing that lasts was read from what does not.
type sqliteSync struct {
	path   string
	file   func(path string) error // returns when a file or a folder is on disk as it is
	actual atomic.Pointer[string]  // path without symbolic links, beside which the log is; nil: not looked up yet
	due    atomic.Bool             // soon is about to
}

func newSQLiteSync(path string) *sqliteSync { return &sqliteSync{path: path, file: syncFile} }

// soonWithin is what a post that was answered is ahead of the disk at most: long enough that the answer is out first,
// and short enough that nobody has done anything about it by then.
const soonWithin = time.Millisecond

// soon is now without waiting, and once for all that is committed meanwhile. Its error is nobody's: whoever has to know
// whether something lasts waits for now.
func (s *sqliteSync) soon() {
	if s.due.CompareAndSwap(false, true) {
		time.AfterFunc(soonWithin, func() {
			s.due.Store(false)
			_ = s.now()
		})
	}
}

// now returns when all that was committed before lasts.
func (s *sqliteSync) now() error {
	path, err := s.database()
	if err != nil {
		return err
	}
	switch err := s.file(path + "-wal"); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return unsynced(err)
	}
	// Without a log, what is committed is in the file itself, on disk: the last connection has put it there, or the file
	// system can't have a log, and then what says that a transaction is over is that its journal is not in the folder any
	// more. The file is not opened here: to close it would give up the locks that SQLite has on it.
	if err := s.file(filepath.Dir(path)); err != nil {
		return unsynced(err)
	}
	return nil
}

// database is where the database is.
func (s *sqliteSync) database() (string, error) {
	if actual := s.actual.Load(); actual != nil {
		return *actual, nil
	}
	actual, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return "", unsynced(err)
	}
	s.actual.Store(&actual)
	return actual, nil
}

// unsynced is the error of what was committed, and may be lost again.
func unsynced(err error) error { return fmt.Errorf("%w: sync: %w", ErrUnavailable, err) }

// syncFile waits until a file or a folder is on disk as it is.
func syncFile(path string) error {
	f, err := os.Open(path) //nolint:gosec // G304: the operator's own file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
