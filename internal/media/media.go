// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package media keeps uploaded files: it looks at what they are while they stream by, and puts their bytes into a
// folder or an S3-compatible bucket. Which file belongs to whom is package store's to know.
package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/s3blob" // s3:// URLs
	"gocloud.dev/gcerrors"
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
	ErrFull        = errors.New("the media storage is full")          // comes with ErrUnavailable
	ErrNotFound    = errors.New("there is no such file")
)

// Types are the content types that are taken.
var Types = []string{"image/jpeg", "image/png", "image/gif", "image/webp", "video/mp4", "video/quicktime"}

// eachAtOnce is the number of keys that Each hands over at a time.
const eachAtOnce = 500

// Library is where the files are.
type Library struct {
	bucket  *blob.Bucket
	folder  string // "": it is a bucket
	maxSize int64

	syncFolder func(folder string) error
}

// Open opens a library: a folder ("file:///path", made if it is missing) or a bucket ("s3://name?region=…&endpoint=…").
// maxSize is the size in bytes above which a file is refused.
func Open(ctx context.Context, url string, maxSize int64) (*Library, error) {
	l := &Library{maxSize: maxSize, syncFolder: syncFolder}
	var err error
	if l.bucket, l.folder, err = open(ctx, url); err != nil {
		return nil, fmt.Errorf("open the media storage: %w", err)
	}
	return l, nil
}

func open(ctx context.Context, text string) (bucket *blob.Bucket, folder string, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, "", err
	}
	switch {
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && u.Path != "":
		bucket, err = fileblob.OpenBucket(u.Path, &fileblob.Options{
			CreateDir:   true,
			DirFileMode: 0o700,
			// A file is renamed when it is complete, for which both names must be in one file system.
			NoTempDir: true,
			// What is known of a file is in the database.
			Metadata: fileblob.MetadataDontWrite,
		})
		return bucket, u.Path, err
	case u.Scheme == "s3" && u.Host != "":
		bucket, err = blob.OpenBucket(ctx, text)
		return bucket, "", err
	default:
		return nil, "", errors.New("its URL must be file:///path or s3://bucket")
	}
}

// MaxSize is the size in bytes above which a file is refused.
func (l *Library) MaxSize() int64 { return l.maxSize }

// Close closes it.
func (l *Library) Close() error {
	if err := l.bucket.Close(); err != nil {
		return fmt.Errorf("close the media storage: %w", err)
	}
	return nil
}

// Get opens a file for reading.
func (l *Library) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if !valid(key) {
		return nil, ErrNotFound
	}
	r, err := l.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, l.failure("read", key, err)
	}
	return r, nil
}

// Delete removes a file. One that is not there is removed already.
func (l *Library) Delete(ctx context.Context, key string) error {
	if !valid(key) {
		return nil
	}
	if err := l.failure("delete", key, l.bucket.Delete(ctx, key)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// Each calls do with the keys that begin with prefix, of files that were last changed before then, some hundreds at a
// time, until it returns an error.
func (l *Library) Each(ctx context.Context, prefix string, before time.Time, do func(keys []string) error) error {
	if err := l.there(); err != nil { // the listing of a folder that is away is empty
		return l.failure("list", "", err)
	}
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := l.bucket.ListPage(ctx, token, eachAtOnce, &blob.ListOptions{Prefix: prefix})
		if err != nil {
			return l.failure("list", "", err)
		}
		token = next
		var keys []string
		for _, o := range page {
			if !o.IsDir && o.ModTime.Before(before) {
				keys = append(keys, o.Key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		if err := do(keys); err != nil {
			return err
		}
	}
	return nil
}

// valid tells whether a file may have this key: one that climbs out, or is a folder, is nobody's.
func valid(key string) bool { return fs.ValidPath(key) && key != "." }

// failure makes an error of the storage one of this package; nil stays nil.
func (l *Library) failure(verb, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case gcerrors.Code(err) == gcerrors.NotFound && l.there() == nil:
		return ErrNotFound
	case full(err):
		return fmt.Errorf("%s file %q: %w: %w: %w", verb, key, ErrUnavailable, ErrFull, err)
	default:
		return fmt.Errorf("%s file %q: %w: %w", verb, key, ErrUnavailable, err)
	}
}

// full tells whether there is no room for more: on the disk, in the quota, or in the bucket (RFC 4918 section 11.5).
func full(err error) bool {
	var answer interface{ HTTPStatusCode() int }
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) ||
		errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusInsufficientStorage
}

// there says what is wrong if the folder is away: every file of it would seem to be missing, and a new one would be put
// where, say, a volume is about to be mounted.
func (l *Library) there() error {
	if l.folder == "" {
		return nil
	}
	info, err := os.Stat(l.folder)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a folder")
	}
	return err
}
