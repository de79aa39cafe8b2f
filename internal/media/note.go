// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"context"
	"fmt"
)

// Note keeps a few bytes of this server's own under a key, in place of what was there: whole, or, with an error, not at
// all. What they are is not looked at. Get reads them, and Each lists them, like any file.
func (l *Library) Note(ctx context.Context, key string, content []byte) error {
	if !valid(key) {
		return fmt.Errorf("write file %q: that is no key", key)
	}
	if err := l.there(); err != nil {
		return l.failure("write", key, err)
	}
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	d, err := l.draft(ctx, key, "text/plain; charset=utf-8")
	if err != nil {
		return l.failure("write", key, err)
	}
	if _, err = d.writer.Write(content); err == nil {
		err = d.keep()
	}
	if err != nil {
		abort()
		d.discard()
	}
	return l.failure("write", key, err)
}
