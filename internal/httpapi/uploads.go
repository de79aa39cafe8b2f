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
//
// left is what there was when the upload began. Those that have got their rows since are in neither number, so this
// bounds what is on its way; whether the file may stay, store.Tx.AddMedia says in the transaction of its row.
func (u *uploads) bounded(
	r io.Reader, organization string, left int64, refuse func() error,
) (_ io.Reader, done func()) {
	b := &boundedUpload{Reader: r, all: u, organization: organization, left: left, refuse: refuse}
	return b, func() { u.giveBack(organization, b.brought) }
}

// take counts n bytes more, unless there would be more than left. What is refused is not counted, or an upload that
// does not fit would refuse those beside it that do.
func (u *uploads) take(organization string, n, left int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	total := u.of[organization] + n
	if total > left {
		return false
	}
	if u.of == nil {
		u.of = map[string]int64{}
	}
	u.of[organization] = total
	return true
}

// giveBack counts n bytes less. An upload that has brought none was never counted: there may be no map yet.
func (u *uploads) giveBack(organization string, n int64) {
	if n == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of[organization] -= n
	if u.of[organization] == 0 {
		delete(u.of, organization)
	}
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
	if n == 0 { // the end, which takes no room, however much others have taken by then
		return n, err
	}
	if !b.all.take(b.organization, int64(n), b.left) {
		return 0, b.refuse()
	}
	b.brought += int64(n)
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
