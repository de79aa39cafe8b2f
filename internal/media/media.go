// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package media keeps uploaded files: it looks at what they are while they stream by, and puts their bytes into a
// folder or an S3-compatible bucket. It knows keys and bytes. Package store knows which file belongs to whom.
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

// What may be wrong with a file. The client can do something about each.
var (
	ErrEmpty      = errors.New("the file is empty")
	ErrTooLarge   = errors.New("the file is too large")
	ErrType       = errors.New("the file is of no type that is taken")
	ErrBroken     = errors.New("the file is broken, or is not what it begins as")
	ErrDimensions = errors.New("the image has too many pixels")
)

// What may be wrong with the storage. The operator can do something about the first two.
var (
	ErrUnavailable = errors.New("the media storage is not available") // full, read-only, or away
	ErrFull        = errors.New("the media storage is full")          // always together with ErrUnavailable
	ErrNotFound    = errors.New("there is no such file")
)

// Types are the content types that are taken: those that a platform publishes. The order is that in which a caller is
// told of them.
var Types = []string{"image/jpeg", "image/png", "image/gif", "image/webp", "video/mp4", "video/quicktime"}

// eachAtOnce is the number of keys that Each hands over at a time. Whoever gets them asks the database about all of
// them in one statement.
const eachAtOnce = 500

// Library is where the files of one process are. Several processes may share what is behind it. It is safe for
// concurrent use. It knows of no organizations: whose a file is, its key says, which package store makes.
type Library struct {
	bucket  *blob.Bucket
	folder  string // absolute; "": the files are in a bucket of S3
	maxSize int64  // bytes

	syncFolder func(folder string) error // a field, so that tests can see it and let it fail
}

// Open opens a library: a folder ("file:///path", made if it is missing) or a bucket
// ("s3://name?region=…&endpoint=…"). maxSize is the size in bytes above which a file is refused. A bucket is not
// asked for anything yet: one that is away keeps nobody from starting.
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
	// A host in a file URL is another machine's (RFC 8089 section 2), and that can't be opened.
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && u.Path != "":
		bucket, err = fileblob.OpenBucket(u.Path, &fileblob.Options{
			CreateDir:   true,
			DirFileMode: 0o700,
			// A file gets its name by being renamed when it is complete, so both names must be in one file system.
			NoTempDir: true,
			// The database has all that is known of a file; a second file beside each would only double the number of them.
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

// Close releases the connections of a bucket. No other method may run any more. A folder has none, and needs no
// closing.
func (l *Library) Close() error {
	if err := l.bucket.Close(); err != nil {
		return fmt.Errorf("close the media storage: %w", err)
	}
	return nil
}

// Get opens a file for reading. The error is ErrNotFound or ErrUnavailable. Whoever reads closes it. An error in the
// middle comes from the reader, as the storage has it.
func (l *Library) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if !validKey(key) {
		return nil, ErrNotFound
	}
	r, err := l.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, l.storageError("read", key, err)
	}
	return r, nil
}

// Delete removes a file. It succeeds for one that is not there, so that it can be tried again. A key that no file can
// have is not there either, and so is no error.
func (l *Library) Delete(ctx context.Context, key string) error {
	if !validKey(key) {
		return nil
	}
	if err := l.storageError("delete", key, l.bucket.Delete(ctx, key)); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// Each calls do with the keys that begin with prefix, some hundreds at a time, until do returns an error. It leaves out
// files that were changed at before or later: their uploads may be about to get their rows.
func (l *Library) Each(ctx context.Context, prefix string, before time.Time, do func(keys []string) error) error {
	if err := l.checkFolder(); err != nil { // fileblob lists a folder that is away as an empty one
		return l.storageError("list", "", err)
	}
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := l.bucket.ListPage(ctx, token, eachAtOnce, &blob.ListOptions{Prefix: prefix})
		if err != nil {
			return l.storageError("list", "", err)
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

// validKey tells whether a file may have this key. One with ".." would lead out of the library, and "." is the
// library's own folder. Keys come from other rooms, and are checked here all the same.
func validKey(key string) bool { return fs.ValidPath(key) && key != "." }

// storageError makes an error of the storage one of this package; nil stays nil. That a file is not found counts only
// if the folder is there: a volume that is not mounted must not look like files that were deleted.
func (l *Library) storageError(verb, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case gcerrors.Code(err) == gcerrors.NotFound && l.checkFolder() == nil:
		return ErrNotFound
	case isFull(err):
		return fmt.Errorf("%s file %q: %w: %w: %w", verb, key, ErrUnavailable, ErrFull, err)
	default:
		return fmt.Errorf("%s file %q: %w: %w", verb, key, ErrUnavailable, err)
	}
}

// isFull tells whether there is no room for more: on the disk, in the quota, by the limit of a file's size, or in the
// bucket (507, RFC 4918 section 11.5). S3's own API has no such status, but servers that speak it have.
func isFull(err error) bool {
	var answer interface{ HTTPStatusCode() int }
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) ||
		errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusInsufficientStorage
}

// checkFolder returns an error if the library's folder is away, as when its volume is not mounted. Without this check
// every file would seem to be missing, and new files would go to the place at which the volume is mounted later, where
// it hides them. It is a moment's look, and not a promise: a volume may go right after it, and then the write itself
// fails.
func (l *Library) checkFolder() error {
	if l.folder == "" {
		return nil
	}
	info, err := os.Stat(l.folder)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a folder")
	}
	return err
}
