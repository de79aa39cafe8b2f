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
	"image/png"
	"io"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/media"
)

// much is more than anybody should hold to find an image's dimensions, in bytes.
const much = 3 << 20

// behindMuch are images with much before their dimensions: XMP, colour profiles, depth maps and previews in JPEG, and
// chunks of any kind elsewhere.
func behindMuch(t testing.TB) []sample {
	var paletted bytes.Buffer
	if err := png.Encode(&paletted, image.NewPaletted(image.Rect(0, 0, 40, 30), color.Palette{color.Black, color.White})); err != nil {
		t.Fatal(err)
	}
	const segments = much/0xffff + 1
	gray := frame(0xc0, 8, 40, 30, 0x11)
	lossy := []byte("RIFF\x16\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x30\x01\x00\x9d\x01\x2a\x28\x00\x1e\x00")
	return []sample{
		{"jpeg", padded(gray, segments), "image/jpeg", nil},
		{"jpeg of a camera", exif(padded(gray, segments)), "image/jpeg", nil},
		{"jpeg with fill bytes", slices.Concat(gray[:2], bytes.Repeat([]byte{0xff}, much), gray[2:]), "image/jpeg", nil},
		{"jpeg of too many pixels", padded(frame(0xc0, 8, 10_001, 10_000, 0x11), segments), "", media.ErrDimensions},
		{"jpeg whose scan comes first", padded(slices.Concat(gray[:2], []byte("\xff\xda\x00\x02"), gray[2:]), segments), "", media.ErrBroken},
		{"jpeg without a frame", padded(gray[:2], segments), "", media.ErrBroken},
		{"jpeg that ends amid", padded(gray, segments)[:much], "", media.ErrBroken},
		{"png", inserted(pngOf(t, 40, 30)), "image/png", nil},
		{"png with a palette", inserted(paletted.Bytes()), "image/png", nil},
		{"png with a palette, cut", inserted(paletted.Bytes())[:much], "", media.ErrBroken},
		{"webp", slices.Concat(lossy[:12], chunked("XMP "), lossy[12:]), "image/webp", nil},
		{"webp, cut", slices.Concat(lossy[:12], chunked("XMP ")), "", media.ErrBroken},
		{"mp4", slices.Concat(mp4(0x20), binary.BigEndian.AppendUint32(nil, much), []byte("free"), make([]byte, much)), "video/mp4", nil},
	}
}

// inserted is a PNG with much behind its header (PNG, section 11.3.3: texts may be there).
func inserted(file []byte) []byte {
	const header = 8 + 25 // the signature, and IHDR with its length, name and sum
	chunk := append([]byte("tEXt"), make([]byte, much)...)
	return slices.Concat(file[:header], binary.BigEndian.AppendUint32(nil, much), chunk,
		binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(chunk)), file[header:])
}

// chunked is a chunk of RIFF with much in it.
func chunked(name string) []byte {
	return slices.Concat([]byte(name), binary.LittleEndian.AppendUint32(nil, much), make([]byte, much))
}

// TestDimensionsBehindMuch: what stands before an image's dimensions has any size. What is wrong with the image is
// found there as well, and nothing is left of it.
func TestDimensionsBehindMuch(t *testing.T) {
	for _, tc := range behindMuch(t) {
		content := tc.content
		if tc.contentType == "image/webp" || tc.reason == "webp, cut" { // its second word is the length of all that follows
			binary.LittleEndian.PutUint32(content[4:], uint32(len(content)-8))
		}
		l, folder := library(t, 2*much)
		var want media.File
		if tc.err == nil {
			want = media.File{ContentType: tc.contentType, SizeBytes: int64(len(content)), SHA256: sum(content)}
		}
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"as it comes": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "the end with the end": iotest.DataErrReader,
		} {
			looked, err := l.Look(reader(bytes.NewReader(content)))
			if diff := cmp.Diff(want, looked); diff != "" || !errors.Is(err, tc.err) {
				t.Errorf("%s %s: error %v, want %v (-want +got):\n%s", tc.reason, how, err, tc.err, diff)
			}
		}
		file, err := l.Put(t.Context(), "o/p/key", bytes.NewReader(content))
		if diff := cmp.Diff(want, file); diff != "" || !errors.Is(err, tc.err) {
			t.Errorf("Put %s: error %v, want %v (-want +got):\n%s", tc.reason, err, tc.err, diff)
		}
		if left := files(t, folder); tc.err != nil && len(left) != 0 {
			t.Errorf("%s leaves %v", tc.reason, left)
		} else if tc.err == nil && !bytes.Equal(read(t, l, "o/p/key"), content) {
			t.Errorf("%s comes back otherwise", tc.reason)
		}
		broken := io.MultiReader(bytes.NewReader(content[:much-1]), iotest.ErrReader(errGone))
		if _, err := l.Look(broken); tc.contentType != "" && err != errGone { //nolint:errorlint // as it is
			t.Errorf("%s that breaks off: %v", tc.reason, err)
		}
	}
}

// TestCutWhereTheLookEnds: a file that ends with what is looked at first is broken as any other is that ends amid.
func TestCutWhereTheLookEnds(t *testing.T) {
	l, _ := library(t, 1<<20)
	whole := padded(frame(0xc0, 8, 40, 30, 0x11), 2)
	for _, length := range []int{64<<10 - 1, 64 << 10, 64<<10 + 1} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"as it comes": func(r io.Reader) io.Reader { return r }, "the end with the end": iotest.DataErrReader,
			"at once": func(r io.Reader) io.Reader { return &endsWithIt{r} },
		} {
			if _, err := l.Look(reader(bytes.NewReader(whole[:length]))); !errors.Is(err, media.ErrBroken) {
				t.Errorf("%d bytes, %s: %v", length, how, err)
			}
		}
	}
}

// endsWithIt fills what it is given, and tells the end with the last bytes, as the parts of a form do.
type endsWithIt struct{ io.Reader }

func (e *endsWithIt) Read(b []byte) (int, error) {
	n, err := io.ReadFull(e.Reader, b[:min(len(b), 64<<10)])
	if errors.Is(err, io.ErrUnexpectedEOF) || err == nil && n == 64<<10 {
		err = io.EOF
	}
	return n, err
}

// TestMemoryOfASizer: however much comes before the dimensions, none of it is held. All that is allocated counts.
func TestMemoryOfASizer(t *testing.T) {
	const most = 1 << 20
	l, _ := library(t, 8*much)
	content := padded(frame(0xc0, 8, 40, 30, 0x11), 6*much/0xffff)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := l.Put(t.Context(), "key", bytes.NewReader(content))
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > most {
		t.Errorf("%d bytes of memory for %d of headers, want at most %d", n, len(content), most)
	}
}
