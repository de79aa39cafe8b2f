// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// readFile reads one byte more than a keyset may have: so a wrong file does not fill the memory, and ParseKeyset still
// finds it too large.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxKeyset+1))
}

// ReadFile reads the keyset of a file.
func ReadFile(path string, kms KMS) (*Keyset, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	k, err := ParseKeyset(text, kms)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// CreateFile writes a keyset to a file that is not there yet; fs.ErrExist: it is there. A keyset that is overwritten is
// lost, and with it all that it has sealed.
func CreateFile(path string, k *Keyset, kms KMS) error {
	// A link, unlike a rename, never replaces anything.
	return writeFile(path, k, kms, func(written, path string) error {
		return errors.Join(os.Link(written, path), os.Remove(written))
	})
}

// ErrLocked says that somebody else has a keyset's file locked.
var ErrLocked = errors.New("somebody else is changing it")

// LockFile keeps others who do the same from a keyset's file until unlock is called, or the process ends. It is for
// whoever reads the file and then replaces it: of two at once, the later one would lose the key that the earlier one
// has added, and with it what that has sealed by then. The lock is the folder's, because the file is another one
// afterwards. The error may be ErrLocked.
func LockFile(path string) (unlock func(), err error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = folder.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return func() { _ = folder.Close() }, nil // which gives up the lock
}

// ReplaceFile writes a keyset over the one of a file. Whoever reads the file finds the one or the other, whole, also if
// the machine stops on the way. The file is its writer's alone afterwards, whatever rights the one before had; the
// API has to be able to read it.
func ReplaceFile(path string, k *Keyset, kms KMS) error {
	// There must be one: whoever mistypes the path would leave a keyset where no process reads it.
	if _, err := os.Stat(path); err != nil {
		return err
	}
	return writeFile(path, k, kms, os.Rename)
}

// writeFile writes beside the file, makes sure of it, and puts it in place.
func writeFile(path string, k *Keyset, kms KMS, place func(written, path string) error) (err error) {
	text, err := k.Encode(kms)
	if err != nil {
		return err
	}
	// Only for its owner, as os.CreateTemp makes it.
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	if _, err = file.Write(text); err != nil {
		return err
	}
	// Before it has its name: if the machine stops then, the name must not lead to a file that is empty.
	if err = errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err = place(file.Name(), path); err != nil {
		// The error of a link names the temporary file first, which nobody has heard of.
		if errors.Is(err, fs.ErrExist) {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the new name last.
func syncFolder(path string) error {
	folder, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
