// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"time"
)

// epoch is the time of all files: that of the build would make other bytes each time.
var epoch = time.Unix(0, 0).UTC()

// pack makes the archive of a program, with its licence beside it, as krew's index asks for.
func pack(name string, program, licence []byte) ([]byte, error) {
	var archive bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&archive, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	files := tar.NewWriter(compressed)
	for _, f := range []struct {
		name    string
		mode    int64
		content []byte
	}{{"LICENSE", 0o644, licence}, {name, 0o755, program}} {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
			Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: epoch,
		}
		if err := files.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := files.Write(f.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	err = errors.Join(files.Close(), compressed.Close()) // which write the end
	return archive.Bytes(), err
}
