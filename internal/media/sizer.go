// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"errors"
	"image"
	"image/png"
	"io"
	"iter"
)

// decoder reads an image as far as its dimensions.
type decoder func(io.Reader) (image.Config, error)

// sizer reads the dimensions of an image from bytes that pass by. It holds none of them, however many come before. The
// decoder wants to read and the upload is read by others, so it runs as a coroutine: until it wants more than there is.
type sizer struct {
	there []byte // of what passes by, what the decoder has not read yet
	next  func() (struct{}, bool)
	stop  func() // has to be called, unless the decoder is through
	err   error  // what is wrong with the image, once the decoder is through
}

// newSizer makes a sizer, whose decoder has not begun. It runs while pass or stop is called, and never beside whoever
// calls them, so nothing here is locked.
func newSizer(decode decoder) *sizer {
	s := &sizer{}
	s.next, s.stop = iter.Pull(func(wait func(struct{}) bool) {
		s.err = checkDimensions(decode(waiting{s, wait}))
	})
	return s
}

// pass shows the next bytes to the decoder, and whether they are the last. It returns what is wrong with the image as
// soon as that is known. Once the decoder is through, it is not asked again: whatever comes behind an image's header
// is of no interest.
func (s *sizer) pass(p []byte, last bool) error {
	s.there = p
	_, wants := s.next()
	if wants && last {
		s.stop() // which the decoder takes for the end
	}
	return s.err
}

// waiting is what a sizer's decoder reads from.
type waiting struct {
	*sizer
	wait func(struct{}) bool // until there is more; false: there is none
}

// Read hands on what there is, and waits only for the first byte: what passes by is gone when pass returns.
func (w waiting) Read(p []byte) (int, error) {
	for len(w.there) == 0 && len(p) > 0 {
		if !w.wait(struct{}{}) {
			return 0, io.EOF
		}
	}
	n := copy(p, w.there)
	w.there = w.there[n:]
	return n, nil
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
