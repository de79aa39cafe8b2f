// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
)

// orientation is which way up a JPEG is to be shown, as its camera has noted it (Exif 2.32, tag 0x0112): from 1, as it
// is, to 8. An image that is encoded anew loses the note, so its pixels have to be turned. The standard library does
// not read it, and the libraries that do bring a parser of all that a camera may note.
func orientation(head []byte) int {
	const upright = 1
	if n := orientationIn(exifOf(head)); n >= 1 && n <= 8 {
		return n
	}
	return upright
}

// exifOf finds a camera's notes in front of the pixels of a JPEG; nil: there are none. It goes from segment to
// segment, and holds each length against what is there.
func exifOf(head []byte) []byte {
	rest, ok := bytes.CutPrefix(head, []byte{0xff, 0xd8})
	for ok && len(rest) >= 4 && rest[0] == 0xff {
		marker, length := rest[1], int(binary.BigEndian.Uint16(rest[2:]))
		if length < 2 || len(rest) < 2+length || marker == 0xda { // the pixels begin
			return nil
		}
		if exif, is := bytes.CutPrefix(rest[4:2+length], []byte("Exif\x00\x00")); is && marker == 0xe1 {
			return exif
		}
		rest = rest[2+length:]
	}
	return nil
}

// orientationIn looks through the first directory of a TIFF; 0: it is not there. An entry has twelve bytes: tag,
// type, count and value (TIFF 6.0, section 2). The value of this tag has two bytes (SHORT), and stands in the entry
// itself.
func orientationIn(tiff []byte) int {
	if len(tiff) < 8 {
		return 0
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	// The file may say any number: in 64 bits the sum below can't overflow.
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 0
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			return 0
		}
		if order.Uint16(entries) == 0x0112 {
			return int(order.Uint16(entries[8:]))
		}
		entries = entries[12:]
	}
	return 0
}

// upright is an image as it is to be shown. Nothing is copied: its points are looked up where they are. One that is
// upright stays of its own type: the encoder is faster with those that it knows.
func upright(m image.Image, turned int) image.Image {
	if turned <= 1 {
		return m
	}
	return turnedImage{m, turned}
}

// turnedImage is shown as orientation's number says, from 2 on. From 5 on, its width is the other one's height.
type turnedImage struct {
	image.Image
	turned int
}

// Bounds is image.Image's.
func (t turnedImage) Bounds() image.Rectangle {
	b := t.Image.Bounds()
	if t.turned >= 5 {
		return image.Rect(0, 0, b.Dy(), b.Dx())
	}
	return image.Rect(0, 0, b.Dx(), b.Dy())
}

// At is image.Image's.
func (t turnedImage) At(x, y int) color.Color {
	b := t.Image.Bounds()
	// x and y are where a point is shown, and become where it lies.
	right, bottom := b.Dx()-1, b.Dy()-1
	switch t.turned {
	case 2: // mirrored
		x = right - x
	case 3: // upside down
		x, y = right-x, bottom-y
	case 4: // mirrored, upside down
		y = bottom - y
	case 5: // mirrored along the diagonal
		x, y = y, x
	case 6: // to be turned by 90° clockwise
		x, y = y, bottom-x
	case 7: // mirrored along the other diagonal
		x, y = right-y, bottom-x
	case 8: // to be turned by 90° counter-clockwise
		x, y = right-y, x
	}
	return t.Image.At(b.Min.X+x, b.Min.Y+y)
}
