// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import "encoding/binary"

// jpegFrame is what a JPEG says of how its pixels are stored (ITU-T T.81, B.2.2), as far as memory depends on it. The
// zero jpegFrame is of one that says nothing where it was looked: the worst there can be.
type jpegFrame struct {
	samples, cells int64 // so many samples for so many pixels
	progressive    bool
}

// size is what so many pixels take while they are decoded. Of a progressive one, all coefficients are kept until its
// last scan, in four bytes each.
func (f jpegFrame) size(pixels int64) int64 {
	if f.cells == 0 {
		f = jpegFrame{4, 1, true}
	}
	each := int64(1)
	if f.progressive {
		each += 4
	}
	return pixels * f.samples * each / f.cells
}

// jpegFrameIn looks for the frame's header in the first bytes of a file.
func jpegFrameIn(b []byte) jpegFrame {
	if len(b) < 2 || b[0] != 0xff || b[1] != 0xd8 {
		return jpegFrame{}
	}
	for b = b[2:]; len(b) >= 4; {
		if b[0] != 0xff {
			return jpegFrame{}
		}
		marker := b[1]
		if marker == 0xff { // fill bytes may stand before a marker
			b = b[1:]
			continue
		}
		length := int(binary.BigEndian.Uint16(b[2:])) + 2
		if length < 4 || length > len(b) || marker == 0xda {
			return jpegFrame{}
		}
		if 0xc0 <= marker && marker <= 0xc2 {
			return frameOf(b[4:length], marker == 0xc2)
		}
		b = b[length:]
	}
	return jpegFrame{}
}

// frameOf reads a frame's header: precision, height, width, and three bytes of each component.
func frameOf(b []byte, progressive bool) jpegFrame {
	const fixed, each = 6, 3
	if len(b) < fixed || len(b) < fixed+each*int(b[5]) {
		return jpegFrame{}
	}
	f := jpegFrame{progressive: progressive}
	var h, v int64
	for i := range int(b[5]) {
		sampling := b[fixed+each*i+1]
		h, v = max(h, int64(sampling>>4)), max(v, int64(sampling&0xf))
		f.samples += int64(sampling>>4) * int64(sampling&0xf)
	}
	f.cells = h * v
	return f
}
