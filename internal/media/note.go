// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"context"
	"fmt"
)

// Note keeps a few bytes of this server's own under a key, such as the mark by which a database knows its library.
// They replace what was there; with an error, that stays, unless all that failed was to make the new name last
// (syncFolders). Unlike an upload's, their type is not looked at. Get reads them, and Each lists them, like any file.
func (l *Library) Note(ctx context.Context, key string, content []byte) error {
	if !validKey(key) {
		return fmt.Errorf("write file %q: that is no key", key)
	}
	if err := l.checkFolder(); err != nil {
		return l.storageError("write", key, err)
	}
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	d, err := l.draft(ctx, key, "text/plain; charset=utf-8")
	if err != nil {
		return l.storageError("write", key, err)
	}
	if _, err = d.writer.Write(content); err == nil {
		err = d.keep()
	}
	if err != nil {
		abort() // before discard, which would keep the note otherwise
		d.discard()
	}
	return l.storageError("write", key, err)
}
