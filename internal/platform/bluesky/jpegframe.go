// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bufio"
	"encoding/binary"
	"io"
)

// jpegFrame is what a JPEG says of how its pixels are stored (ITU-T T.81, B.2.2), as far as memory depends on it. The
// zero jpegFrame is of one that says nothing of it: the worst there can be. Package image tells width, height and
// colour model before it decodes, and neither of these.
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

// jpegFrameIn looks for the frame's header, behind whatever stands before it. It reads from segment to segment up to
// the first scan: whoever can't be followed that far is taken for the worst.
func jpegFrameIn(r io.Reader) jpegFrame {
	in := bufio.NewReader(r)
	if start, err := in.Peek(2); err != nil || start[0] != 0xff || start[1] != 0xd8 {
		return jpegFrame{}
	}
	for _, err := in.Discard(2); err == nil; {
		b, e := in.Peek(4)
		if e != nil || b[0] != 0xff {
			return jpegFrame{}
		}
		// The length counts its own two bytes, and the marker has two more.
		marker, length := b[1], int(binary.BigEndian.Uint16(b[2:]))+2
		switch {
		case marker == 0xff: // fill bytes may stand before a marker
			length = 1
		case length < 4, marker == 0xda:
			return jpegFrame{}
		// Baseline, extended, progressive: package image/jpeg decodes no others.
		case 0xc0 <= marker && marker <= 0xc2:
			header := make([]byte, length)
			if _, err := io.ReadFull(in, header); err != nil {
				return jpegFrame{}
			}
			return frameOf(header[4:], marker == 0xc2)
		}
		_, err = in.Discard(length)
	}
	return jpegFrame{}
}

// frameOf reads a frame's header: precision, height, width, and three bytes of each component. How many samples each
// has, across and down, is for as many pixels as the finest of them has samples.
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
