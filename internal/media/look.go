// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"bufio"
	"bytes"
	"errors"
	"image"
	"image/gif"
	"image/png"
	"io"
	"slices"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/image/webp"
)

const (
	// sniffed is the number of leading bytes by which the type is told. The signatures of all Types lie well within. It is
	// what mimetype itself reads at most, by default.
	sniffed = 3072
	// maxHeader bounds the bytes of an image that are read to find its dimensions. Colour profiles and previews may come
	// before those.
	maxHeader = 1 << 20
	// maxPixels bounds the memory of whoever decodes the image, such as a platform: some 400 MB at four bytes a pixel. A
	// file of a few kilobytes can claim billions of pixels.
	maxPixels = 100_000_000
)

// headers read the dimensions of an image and decode no pixel. What is not in here, a video, is taken for what it
// begins as: its container tells no more without parsing all of it.
var headers = map[string]func(io.Reader) (image.Config, error){
	"image/gif":  gif.DecodeConfig,
	"image/jpeg": jpegSize,
	"image/png":  png.DecodeConfig,
	"image/webp": webp.DecodeConfig,
}

// look finds the content type of a file by its own bytes, and checks the header of an image. It sets rest, which puts
// the bytes that were looked at back in front of those still to come. It comes before anything is written, so a file
// that is refused costs no storage.
func (u *upload) look() (contentType string, err error) {
	buffered := bufio.NewReaderSize(u, sniffed)
	u.rest = buffered
	begin, err := buffered.Peek(sniffed)
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
	var header bytes.Buffer
	config, err := decode(io.TeeReader(io.LimitReader(buffered, maxHeader), &header))
	u.rest = io.MultiReader(&header, buffered)
	if u.failed() != nil {
		return "", u.failed()
	}
	return contentType, checkDimensions(config, err)
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

// checkDimensions returns what is wrong with an image by its header, or by err, which reading that header gave. Which
// of the two it is makes a difference to the sender: a broken file is to be sent again, a large one made smaller.
func checkDimensions(config image.Config, err error) error {
	var unsupported png.UnsupportedError
	switch {
	case errors.As(err, &unsupported) && unsupported == "dimension overflow":
		return ErrDimensions // the product does not even fit into an int
	case err != nil || config.Width <= 0 || config.Height <= 0:
		return ErrBroken
	case int64(config.Width)*int64(config.Height) > maxPixels:
		return ErrDimensions
	}
	return nil
}
