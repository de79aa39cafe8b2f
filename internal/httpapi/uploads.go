// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"io"
	"sync"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// uploads are the bytes of files that are on their way in, by organization. They stand in the library before their row
// counts them: without this, many uploads at once that never end would fill it, whatever the quota.
type uploads struct {
	mu sync.Mutex
	of map[string]int64
}

// bounded makes r end with a *store.QuotaError when all uploads of an organization together have brought more than
// left. done takes its bytes out again: by then they are counted, or gone. What other replicas receive meanwhile isn't
// seen, so together they may hold as many times left as there are of them, for as long as uploads last.
func (u *uploads) bounded(
	r io.Reader, organization string, left int64, refuse func() error,
) (_ io.Reader, done func()) {
	b := &boundedUpload{Reader: r, all: u, organization: organization, left: left, refuse: refuse}
	return b, func() { u.add(organization, -b.brought) }
}

// add counts n bytes, and returns how many there are then.
func (u *uploads) add(organization string, n int64) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	total := u.of[organization] + n
	if total == 0 {
		delete(u.of, organization)
		return 0
	}
	if u.of == nil {
		u.of = map[string]int64{}
	}
	u.of[organization] = total
	return total
}

// boundedUpload is one upload.
type boundedUpload struct {
	io.Reader
	all           *uploads
	organization  string
	left, brought int64
	refuse        func() error
}

// Read reads from the client.
func (b *boundedUpload) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.brought += int64(n)
	if b.all.add(b.organization, int64(n)) > b.left {
		return 0, b.refuse()
	}
	return n, err
}

// roomFor makes sure that there may be room for an upload, before any of its file is read, and bounds what is read of
// it by the room that there is. done is called when the file is in, with its row, or out again.
func (a *API) roomFor(r *endpoint.Request, part io.Reader) (_ io.Reader, done func(), _ error) {
	// What stands around the file is not the file's: without it, a file that just fits would be refused.
	size := max(1, r.HTTP().ContentLength-formBytes)
	room, err := r.View().Room(r.Context(), store.Amounts{store.MediaFiles: 1, store.Bytes: size})
	if err != nil {
		return nil, nil, err
	}
	left, bounded := room.Left(store.Bytes)
	if !bounded {
		return part, func() {}, nil
	}
	reader, done := a.uploads.bounded(part, r.Caller().Organization.ID, left, func() error {
		return room.Exceeded(store.Bytes)
	})
	return reader, done, nil
}
