// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is a file of the state directory that is locked as long as its launcher lives.
const lockName = "lock"

// makeState makes the state directory, and removes those of launchers that were killed: some 150 MB each.
func (s *settings) makeState() (unlock func() error, err error) {
	pattern := filepath.Join(os.TempDir(), "letmepost-node-*")
	left, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	for _, dir := range left {
		removeUnlocked(dir)
	}
	if s.State, err = os.MkdirTemp(filepath.Split(pattern)); err != nil {
		return nil, err
	}
	return lock(s.file(lockName), os.O_CREATE)
}

// removeUnlocked removes a state directory that no launcher holds. One that is being made has no lock yet, and stays.
func removeUnlocked(dir string) {
	unlock, err := lock(filepath.Join(dir, lockName), 0)
	if err != nil {
		return
	}
	_ = os.RemoveAll(dir)
	_ = unlock()
}

// lock takes a lock that ends with this process, whatever ends it, or fails at once.
func lock(path string, flags int) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file.Close, nil
}
