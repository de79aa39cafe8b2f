// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"bufio"
	"bytes"
	"errors"
	"image/gif"
	"image/png"
	"io"
	"slices"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/image/webp"
)

const (
	// begins is the number of leading bytes that are looked at before anything is stored. The signatures of all Types lie
	// well within, and the dimensions of nearly all images.
	begins = 64 << 10
	// maxPixels bounds the memory of whoever decodes the image, such as a platform: some 400 MB at four bytes a pixel. A
	// file of a few kilobytes can claim billions of pixels.
	maxPixels = 100_000_000
)

// headers read the dimensions of an image and decode no pixel. What is not in here, a video, is taken for what it
// begins as: its container tells no more without parsing all of it.
var headers = map[string]decoder{
	"image/gif":  gif.DecodeConfig,
	"image/jpeg": jpegSize,
	"image/png":  png.DecodeConfig,
	"image/webp": webp.DecodeConfig,
}

// look finds the content type of a file by its own bytes, and checks the header of an image. It sets rest, which puts
// the bytes that were looked at back in front of those still to come. It comes before anything is written, so a file
// that is refused by how it begins costs no storage. Profiles, depth maps and previews may stand before an image's
// dimensions, and have any size: then it leaves them to sizer.
func (u *upload) look() (contentType string, err error) {
	buffered := bufio.NewReaderSize(u, begins)
	u.rest = buffered
	begin, err := buffered.Peek(begins)
	switch {
	case u.failed() != nil:
		return "", u.failed()
	case err != nil && !errors.Is(err, io.EOF):
		return "", err // io.ErrNoProgress: a reader that gives neither bytes nor an error
	case len(begin) == 0:
		return "", ErrEmpty
	}
	if contentType = typeOf(begin); contentType == "" {
		return "", ErrType
	}
	decode := headers[contentType]
	if decode == nil {
		return contentType, nil
	}
	u.sizer = newSizer(decode)
	// By u.err, which is nil or the end here: a reader may tell the end with its last bytes, of which Peek says nothing if
	// they fill the buffer.
	return contentType, u.sizer.pass(begin, u.err != nil)
}

// typeOf returns which of Types a file is that begins with these bytes; "": none of them.
func typeOf(begin []byte) string {
	// Neither the file's name nor the Content-Type of its part is asked: both are the sender's word.
	found := mimetype.Detect(begin)
	switch {
	case found.Is("image/apng"): // a PNG that has more frames behind its first; whoever does not know of them shows that
		return "image/png"
	// MP4 by another brand: Apple's, which is MP4 but for what a player of theirs may add; and Sony's, of cameras, which
	// the library takes for audio.
	case found.Is("video/x-m4v"), bytes.HasPrefix(begin[min(4, len(begin)):], []byte("ftypMSNV")):
		return "video/mp4"
	}
	i := slices.IndexFunc(Types, found.Is)
	if i < 0 {
		return ""
	}
	return Types[i]
}
