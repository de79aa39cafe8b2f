// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

import (
	"bufio"
	"encoding/binary"
	"errors"
	"image"
	"io"
)

// Markers of JPEG (ITU-T T.81, table B.1), behind their 0xff.
const (
	markSOI      = 0xd8
	markEOI      = 0xd9
	markSOS      = 0xda
	markTEM      = 0x01
	markRST0     = 0xd0
	markRST7     = 0xd7
	markSOF0     = 0xc0
	markSOF15    = 0xcf
	markDHT      = 0xc4 // these three stand amid the frame headers, and are none
	markReserved = 0xc8
	markDAC      = 0xcc
)

var errJPEG = errors.New("no JPEG with a frame header")

// jpegSize reads the dimensions of a JPEG from its frame header, whatever kind of JPEG it is. It is not image/jpeg,
// which can show only some of them and refuses the others by their header: those of arithmetic coding, of 12 bits, and
// of unusual sampling. Platforms take them, and nothing is decoded here. What stands before the frame, such as a
// profile or a preview, is passed over, whatever its size, and not held. Each error means that the file is broken.
func jpegSize(from io.Reader) (image.Config, error) {
	r := bufio.NewReader(from)
	var begin [2]byte
	if _, err := io.ReadFull(r, begin[:]); err != nil || begin != [2]byte{0xff, markSOI} {
		return image.Config{}, errJPEG
	}
	for {
		mark, length, err := nextSegment(r)
		switch {
		case err != nil:
			return image.Config{}, err
		case isFrame(mark):
			return frameSize(r, length)
		}
		if _, err := r.Discard(length); err != nil {
			return image.Config{}, err
		}
	}
}

// nextSegment reads a marker and how many bytes follow. The end, or a scan, is an error: the frame comes before both.
func nextSegment(r *bufio.Reader) (mark byte, length int, err error) {
	mark, err = nextMarker(r)
	switch {
	case err != nil:
		return 0, 0, err
	case mark == markTEM || markRST0 <= mark && mark <= markRST7: // nothing follows, not even a length
		return mark, 0, nil
	case mark == markSOI || mark == markEOI || mark == markSOS:
		return 0, 0, errJPEG
	}
	var size [2]byte
	_, err = io.ReadFull(r, size[:])
	return mark, max(0, int(binary.BigEndian.Uint16(size[:]))-len(size)), err
}

// nextMarker skips to the next marker. Bytes before it are not valid, and other decoders skip them as well.
func nextMarker(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		for err == nil && b == 0xff {
			if b, err = r.ReadByte(); err == nil && b != 0xff && b != 0 { // any number of 0xff may come before
				return b, nil
			}
		}
		if err != nil {
			return 0, err
		}
	}
}

// isFrame tells whether a marker begins a frame header: any kind from SOF0 to SOF15, since only its dimensions count.
func isFrame(mark byte) bool {
	return markSOF0 <= mark && mark <= markSOF15 && mark != markDHT && mark != markReserved && mark != markDAC
}

// frameSize reads a frame header of so many bytes (T.81, B.2.2): precision, height, width, and three bytes for each
// component. A height of 0 is told later, by a marker that next to nobody reads; it is taken for broken.
func frameSize(r io.Reader, length int) (image.Config, error) {
	var header [6]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return image.Config{}, err
	}
	if components := int(header[5]); components == 0 || length != len(header)+3*components {
		return image.Config{}, errJPEG
	}
	return image.Config{
		Height: int(binary.BigEndian.Uint16(header[1:])), Width: int(binary.BigEndian.Uint16(header[3:])),
	}, nil
}
