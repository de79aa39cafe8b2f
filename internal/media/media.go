// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package media keeps uploaded files: it looks at what they are while they stream by, and puts their bytes into a folder
// or an S3-compatible bucket. Which file belongs to whom is package store's to know.
package media

import (
	"context"
	"errors"
	"io"
	"time"

	_ "gocloud.dev/blob/fileblob" // file:// URLs
	_ "gocloud.dev/blob/s3blob"   // s3:// URLs
)

// MaxSize is the size in bytes above which a file is refused, unless Options say otherwise.
const MaxSize = 200 << 20

// What may be wrong with a file, and with where it is to go.
var (
	ErrEmpty       = errors.New("the file is empty")
	ErrTooLarge    = errors.New("the file is too large")
	ErrType        = errors.New("the file is of no type that is taken")
	ErrBroken      = errors.New("the file is broken, or is not what it begins as")
	ErrDimensions  = errors.New("the image has too many pixels")
	ErrUnavailable = errors.New("the media storage is not available") // full, read-only, or away
	ErrNotFound    = errors.New("there is no such file")
)

// Types are the content types that are taken.
var Types = []string{"image/jpeg", "image/png", "image/gif", "image/webp", "video/mp4", "video/quicktime"}

// Library is where the files are.
type Library struct{}

// Open opens a library: a folder ("file:///path", made if it is missing) or a bucket ("s3://name?region=…&endpoint=…").
// maxSize is the size in bytes above which a file is refused.
func Open(ctx context.Context, url string, maxSize int64) (*Library, error) { panic("TODO") }

// Close closes it.
func (l *Library) Close() error { panic("TODO") }

// File is what a file turned out to be.
type File struct {
	ContentType string // one of Types, by its own bytes
	SizeBytes   int64
	SHA256      string // hex
}

// Put streams a file into the library, under a key that nothing has yet. It is there whole, or, with an error, not at all.
// The error is one of the above, or what r returned. Memory is bounded, whatever the size.
func (l *Library) Put(ctx context.Context, key string, r io.Reader) (File, error) { panic("TODO") }

// Look is Put without keeping anything.
func (l *Library) Look(r io.Reader) (File, error) { panic("TODO") }

// Get opens a file for reading.
func (l *Library) Get(ctx context.Context, key string) (io.ReadCloser, error) { panic("TODO") }

// Delete removes a file. One that is not there is removed already.
func (l *Library) Delete(ctx context.Context, key string) error { panic("TODO") }

// Each calls do with the keys of the files that were last changed before then, some hundreds at a time, until it returns an error.
func (l *Library) Each(ctx context.Context, before time.Time, do func(keys []string) error) error {
	panic("TODO")
}
