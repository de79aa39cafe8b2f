// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"bufio"
	"bytes"
	"errors"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"slices"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/image/webp"
)

const (
	// sniffed is the number of leading bytes that tell the type.
	sniffed = 3072
	// maxHeader bounds the bytes of an image before its size is known: profiles and previews may come first.
	maxHeader = 1 << 20
	// maxPixels bounds what somebody who decodes the image has to hold: some 400 MB.
	maxPixels = 100_000_000
)

// headers read the size of an image, and no more.
var headers = map[string]func(io.Reader) (image.Config, error){
	"image/gif":  gif.DecodeConfig,
	"image/jpeg": jpeg.DecodeConfig,
	"image/png":  png.DecodeConfig,
	"image/webp": webp.DecodeConfig,
}

// look tells the content type of a file by its own bytes, and checks what it says of itself. Then rest is all of the
// file.
func (s *source) look() (contentType string, err error) {
	buffered := bufio.NewReaderSize(s, sniffed)
	s.rest = buffered
	begin, err := buffered.Peek(sniffed)
	switch {
	case s.failed() != nil:
		return "", s.failed()
	case err != nil && !errors.Is(err, io.EOF):
		return "", err // a reader that gives neither bytes nor an error
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
	s.rest = io.MultiReader(&header, buffered)
	if s.failed() != nil {
		return "", s.failed()
	}
	return contentType, judge(config, err)
}

// typeOf returns the one of Types that a file is that begins like this; "" if it is none.
func typeOf(begin []byte) string {
	found := mimetype.Detect(begin)
	if found.Is("image/apng") { // a PNG with more pictures behind the first
		return "image/png"
	}
	i := slices.IndexFunc(Types, found.Is)
	if i < 0 {
		return ""
	}
	return Types[i]
}

// judge judges what an image's header says.
func judge(config image.Config, err error) error {
	var unsupported png.UnsupportedError
	switch {
	case errors.As(err, &unsupported) && unsupported == "dimension overflow":
		return ErrDimensions // too many even to be counted
	case err != nil || config.Width <= 0 || config.Height <= 0:
		return ErrBroken
	case int64(config.Width)*int64(config.Height) > maxPixels:
		return ErrDimensions
	}
	return nil
}
