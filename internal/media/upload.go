// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
)

// copyBuffer is the size in bytes of the one buffer through which a file streams, whatever its size.
const copyBuffer = 64 << 10

// upload is a file that is on its way in. It remembers what ended its bytes: only so can an error of the client, who
// sends them, be told from one of the storage, which takes them. io.Copy returns both alike. It is one goroutine's, and
// used once.
type upload struct {
	from io.Reader
	left int64 // bytes that may still come
	err  error // what ended them; io.EOF when all have come

	rest  io.Reader // what is to be copied, from the file's first byte on; set by look
	sizer *sizer    // what looks for the dimensions of an image; set by look, nil for a video
}

// newUpload bounds what is read and not what is written, so that no more than that is ever asked of the client.
func newUpload(r io.Reader, maxSize int64) *upload { return &upload{from: r, left: maxSize} }

// Read reads from the client.
func (u *upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.from.Read(p)
	// None of this read is handed on: the storage must not get the file's beginning and take it for all of it.
	if u.left -= int64(n); u.left < 0 {
		n, err = 0, ErrTooLarge
	}
	if u.sizer != nil && (err == nil || errors.Is(err, io.EOF)) {
		if bad := u.sizer.pass(p[:n], err != nil); bad != nil {
			n, err = 0, bad
		}
	}
	u.err = err
	return n, err
}

// close has to be called, whatever has become of the file: a decoder that waits for more would wait for ever.
func (u *upload) close() {
	if u.sizer != nil {
		u.sizer.stop()
	}
}

// failed returns why the file did not come completely; nil: it did, or is still coming. io.EOF is how a file ends that
// came completely.
func (u *upload) failed() error {
	if u.err == nil || errors.Is(u.err, io.EOF) {
		return nil
	}
	return u.err
}

// copyTo streams the file to w and returns its size and hash. The error is w's or the client's: failed tells which.
func (u *upload) copyTo(w io.Writer) (File, error) {
	hash := sha256.New()
	// Both ends hide their ReadFrom and WriteTo, which io.Copy would prefer to the buffer given here: their buffers may
	// have any size.
	plain := struct{ io.Writer }{io.MultiWriter(hash, w)}
	n, err := io.CopyBuffer(plain, struct{ io.Reader }{u.rest}, make([]byte, copyBuffer))
	if err == nil && u.failed() != nil {
		err = u.failed()
	}
	return File{SizeBytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, err
}
