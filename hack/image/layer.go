// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is a file or, when its name ends in "/", a folder of an image. All belong to root: the process can't change
// them.
type file struct {
	name    string // without a leading "/"
	mode    os.FileMode
	content []byte
}

// rootFiles are all files of an image, parents first.
func rootFiles(src source, img image, b binary) ([]file, error) {
	own, err := os.ReadFile(filepath.Join(src.dir, "LICENSE"))
	if err != nil {
		return nil, err
	}
	others, err := b.notices()
	if err != nil {
		return nil, err
	}
	return []file{
		{"etc/", 0o755, nil},
		// Go's os/user, and tools on the node, name the user by these; home is a folder that is nowhere.
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/nonexistent:/nologin\n" +
			"nonroot:x:65532:65532:nonroot:/nonexistent:/nologin\n")},
		{"licenses/", 0o755, nil},
		{"licenses/LICENSE", 0o644, own},
		{"licenses/THIRD-PARTY", 0o644, others},
		// For uploads and for SQLite's own temporary files. The chart mounts an emptyDir there.
		{"tmp/", 0o777 | os.ModeSticky, nil},
		{img.name, 0o755, b.content},
	}, nil
}

// writeTar writes files so that the same files give the same bytes: nothing comes from a file system.
func writeTar(files []file, modified time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     f.name,
			Mode:     int64(f.mode.Perm()),
			Size:     int64(len(f.content)),
			ModTime:  modified,
			Format:   tar.FormatUSTAR,
		}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if f.mode&os.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// copyFiles writes files below dir, which must not exist: what is left of another build would get into the image.
func copyFiles(dir string, files []file) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		var err error
		if strings.HasSuffix(f.name, "/") {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, f.content, 0o644)
		}
		if err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil { // whatever the umask
			return err
		}
	}
	return nil
}
