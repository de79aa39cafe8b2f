// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/media"
)

// sample is a file, and what it is to be found to be.
type sample struct {
	reason      string
	content     []byte
	contentType string
	err         error
}

func samples(t testing.TB) []sample {
	small := image.NewPaletted(image.Rect(0, 0, 40, 30), color.Palette{color.Black, color.White})
	gifOf, jpegOf := new(bytes.Buffer), new(bytes.Buffer)
	if err := errors.Join(gif.Encode(gifOf, small, nil), jpeg.Encode(jpegOf, small, nil)); err != nil {
		t.Fatal(err)
	}
	picture := pngOf(t, 40, 30)
	return []sample{
		{"png", picture, "image/png", nil},
		{"png with more behind it", append(slices.Clone(picture), make([]byte, 500_000)...), "image/png", nil},
		{"gif", gifOf.Bytes(), "image/gif", nil},
		{"jpeg", jpegOf.Bytes(), "image/jpeg", nil},
		{"jpeg with long profiles first", padded(jpegOf.Bytes(), 8), "image/jpeg", nil},
		{"jpeg with nothing but profiles", padded(jpegOf.Bytes(), 15)[:900_000], "", media.ErrBroken},
		{"jpeg with sampling 2x2,1x1,1x2", frame(0xc0, 8, 40, 30, 0x22, 0x11, 0x12), "image/jpeg", nil},
		{"jpeg with sampling 3x1", frame(0xc0, 8, 40, 30, 0x31, 0x11, 0x11), "image/jpeg", nil},
		{"jpeg in CMYK with sampling 2x1 of its last", frame(0xc0, 8, 40, 30, 0x11, 0x11, 0x11, 0x21), "image/jpeg", nil},
		{"jpeg, extended, of 12 bits", frame(0xc1, 12, 40, 30, 0x11), "image/jpeg", nil},
		{"jpeg, progressive", frame(0xc2, 8, 40, 30, 0x22, 0x11, 0x11), "image/jpeg", nil},
		{"jpeg, lossless", frame(0xc3, 16, 40, 30, 0x11), "image/jpeg", nil},
		{"jpeg, arithmetic", frame(0xc9, 8, 40, 30, 0x22, 0x11, 0x11), "image/jpeg", nil},
		{"jpeg, progressive and arithmetic", frame(0xca, 8, 40, 30, 0x22, 0x11, 0x11), "image/jpeg", nil},
		{"jpeg with two components", frame(0xc0, 8, 40, 30, 0x11, 0x11), "image/jpeg", nil},
		{"jpeg without a component", frame(0xc0, 8, 40, 30), "", media.ErrBroken},
		{"jpeg without width", frame(0xc0, 8, 0, 30, 0x11), "", media.ErrBroken},
		{"jpeg of too many pixels", frame(0xc0, 8, 10_001, 10_000, 0x11), "", media.ErrDimensions},
		{"jpeg with a table for a frame", frame(0xc4, 8, 40, 30, 0x11), "", media.ErrBroken},
		{"jpeg whose frame is cut", frame(0xc0, 8, 40, 30, 0x11)[:10], "", media.ErrBroken},
		{"jpeg whose scan comes first", append([]byte("\xff\xd8\xff\xda\x00\x02"), frame(0xc0, 8, 40, 30, 0x11)[2:]...), "", media.ErrBroken},
		{"jpeg with fill bytes", append([]byte("\xff\xd8\xff\xff\xff"), frame(0xc0, 8, 40, 30, 0x11)[3:]...), "image/jpeg", nil},
		{"jpeg of a camera, with EXIF first", exif(jpegOf.Bytes()), "image/jpeg", nil},
		{"png that is animated", animated(picture), "image/png", nil},
		{"gif of one frame, with its delay", gifOfFrames(t, 1), "image/gif", nil},
		{"gif that is animated", gifOfFrames(t, 3), "image/gif", nil},
		{"gif of 1987", append([]byte("GIF87a"), gifOf.Bytes()[6:]...), "image/gif", nil},
		{"webp", webp(40, 30), "image/webp", nil},
		{"webp, lossy", []byte("RIFF\x16\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x30\x01\x00\x9d\x01\x2a\x28\x00\x1e\x00"), "image/webp", nil},
		{"webp, lossless", []byte("RIFF\x12\x00\x00\x00WEBPVP8L\x05\x00\x00\x00\x2f\x27\x40\x07\x00\x00"), "image/webp", nil},
		{"webp that is animated", slices.Concat(webp(40, 30)[:20], []byte{2}, webp(40, 30)[21:], []byte("ANIM\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00")), "image/webp", nil},
		{"mp4", mp4(10_000), "video/mp4", nil},
		{"mp4 of Apple's brand", branded("M4V "), "video/mp4", nil},
		{"mp4 of Apple's other brands", branded("M4VH"), "video/mp4", nil},
		{"mp4 of Sony's brand", branded("MSNV"), "video/mp4", nil},
		{"mp4 of Sony's newer brand", branded("XAVC"), "video/mp4", nil},
		{"mp4 in fragments", branded("iso8"), "video/mp4", nil},
		{"sound of Apple's brand", branded("M4A "), "", media.ErrType},
		{"video of old telephones", branded("3gp5"), "", media.ErrType},
		{"avif", branded("avif"), "", media.ErrType},
		{"quicktime", slices.Concat([]byte("\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  "), make([]byte, 100)), "video/quicktime", nil},
		{"as large as may be", mp4(maxSize), "video/mp4", nil},
		{"one byte too large", mp4(maxSize + 1), "", media.ErrTooLarge},
		{"empty", nil, "", media.ErrEmpty},
		{"text", []byte("hello"), "", media.ErrType},
		{"html", []byte("<!DOCTYPE html><script>alert(1)</script>"), "", media.ErrType},
		{"svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "", media.ErrType},
		{"an archive", []byte("PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "", media.ErrType},
		{"heic", slices.Concat([]byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"), make([]byte, 100)), "", media.ErrType},
		{"the first bytes of a png", picture[:10], "", media.ErrBroken},
		{"a png without a header", slices.Concat(picture[:8], make([]byte, 1000)), "", media.ErrBroken},
		{"a png without width", header(0, 30), "", media.ErrBroken},
		{"100 megapixels", header(10_000, 10_000), "image/png", nil},
		{"a bit more", header(10_000, 10_001), "", media.ErrDimensions},
		{"more than can be counted", header(1<<31-1, 1<<31-1), "", media.ErrDimensions},
		{"a large gif", slices.Concat([]byte("GIF89a\xff\xff\xff\xff\x00\x00\x00"), make([]byte, 100)), "", media.ErrDimensions},
		{"a large webp", webp(1<<14, 1<<14), "", media.ErrDimensions},
	}
}

func pngOf(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// header is a PNG of which there is nothing but its size.
func header(width, height uint32) []byte {
	chunk := []byte("IHDR")
	chunk = binary.BigEndian.AppendUint32(chunk, width)
	chunk = binary.BigEndian.AppendUint32(chunk, height)
	chunk = append(chunk, 8, 6, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), chunk...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(chunk))
	return append(b, "\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e"...)
}

// webp is an extended WebP of which there is nothing but its canvas.
func webp(width, height uint32) []byte {
	b := []byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00")
	for _, n := range []uint32{width - 1, height - 1} {
		b = append(b, byte(n), byte(n>>8), byte(n>>16))
	}
	return b
}

// mp4 begins as an MP4 does; what follows is not looked at.
func mp4(size int) []byte {
	b := make([]byte, size)
	copy(b, "\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41")
	return b
}

// branded begins as a file of that major brand (ISO/IEC 14496-12, section 4.3).
func branded(brand string) []byte {
	b := mp4(10_000)
	copy(b[8:], brand)
	return b
}

// exif is a JPEG with the segment that cameras write first.
func exif(jpeg []byte) []byte {
	return slices.Concat(jpeg[:2], []byte("\xff\xe1\x00\x16Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00"), jpeg[2:])
}

// animated is a PNG with the chunk in front that says that it has frames.
func animated(png []byte) []byte {
	const header = 8 + 25 // the signature, and IHDR with its length, name and sum
	chunk := []byte("acTL\x00\x00\x00\x01\x00\x00\x00\x00")
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(chunk))
	return slices.Concat(png[:header], []byte("\x00\x00\x00\x08"), chunk, sum, png[header:])
}

func gifOfFrames(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	frame := image.NewPaletted(image.Rect(0, 0, 40, 30), color.Palette{color.Black, color.White})
	all := &gif.GIF{Image: slices.Repeat([]*image.Paletted{frame}, n), Delay: slices.Repeat([]int{10}, n)}
	if err := gif.EncodeAll(&b, all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// padded is a JPEG with n segments of 64 KiB before its size.
func padded(jpeg []byte, n int) []byte {
	b := slices.Clone(jpeg[:2])
	for range n {
		b = append(append(b, 0xff, 0xe2, 0xff, 0xff), make([]byte, 0xffff-2)...)
	}
	return append(b, jpeg[2:]...)
}

// FuzzLook: whatever comes, it is one of the types, or refused for one of the reasons.
func FuzzLook(f *testing.F) {
	for _, s := range samples(f) {
		if len(s.content) < 100_000 {
			f.Add(s.content)
		}
	}
	l, _ := library(f, maxSize)
	reasons := []error{media.ErrEmpty, media.ErrTooLarge, media.ErrType, media.ErrBroken, media.ErrDimensions}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := l.Look(bytes.NewReader(content))
		if err != nil {
			if !slices.Contains(reasons, err) || file != (media.File{}) {
				t.Fatalf("%+v, %v", file, err)
			}
			return
		}
		if !slices.Contains(media.Types, file.ContentType) || file.SizeBytes != int64(len(content)) || file.SHA256 != sum(content) {
			t.Fatalf("%+v of %d bytes", file, len(content))
		}
	})
}

// frame is a JPEG as far as its frame header, of this kind, with these samplings, and the beginning of a scan.
func frame(mark, bits byte, width, height uint16, samplings ...byte) []byte {
	b := []byte{0xff, 0xd8, 0xff, mark}
	b = binary.BigEndian.AppendUint16(b, uint16(8+3*len(samplings)))
	b = binary.BigEndian.AppendUint16(append(b, bits), height)
	b = append(binary.BigEndian.AppendUint16(b, width), byte(len(samplings)))
	for i, sampling := range samplings {
		b = append(b, byte(i+1), sampling, 0)
	}
	return append(b, 0xff, 0xda, 0, 2, 0xff, 0xd9)
}
