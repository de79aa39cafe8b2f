// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// exif is a JPEG that is to be shown in a way that its camera has noted.
func exif(t *testing.T, m image.Image, turned byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	note := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string(turned) + "\x00\x00\x00\x00\x00\x00")
	segment := append([]byte{0xff, 0xe1, 0, byte(len(note) + 2)}, note...)
	return append(append(b.Bytes()[:2:2], segment...), b.Bytes()[2:]...)
}

// TestOrientation: what is encoded anew is shown as what was given. The camera's note is lost, so the points move: a
// red corner is where each note has it.
func TestOrientation(t *testing.T) {
	const size = 64
	m := image.NewNRGBA(image.Rect(0, 0, 2*size, size))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = 255
		if i%4 != 3 {
			m.Pix[i] = byte(random.UintN(100))
		}
	}
	for y := range size / 4 {
		for x := range size / 4 {
			m.SetNRGBA(x, y, color.NRGBA{R: 255, A: 255})
		}
	}
	// Profiles and depth maps of any size may stand behind the note, and before the dimensions.
	profiles := bytes.Repeat(append([]byte{0xff, 0xe2, 0xff, 0xff}, make([]byte, 0xffff-2)...), 2*maxHead/0xffff)
	for turned, want := range map[byte]string{
		1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
		5: "top left", 6: "top right", 7: "bottom right", 8: "bottom left", 9: "top left",
	} {
		given := exif(t, m, turned)
		note := 4 + int(given[5])
		given = slices.Concat(given[:note], profiles, given[note:])
		for _, most := range []int64{int64(len(given)), int64(len(given)) - 1} { // as it is, and encoded anew
			p, err := fit(t.Context(), original{open: openBytes(given), size: int64(len(given)), contentType: "image/jpeg"}, most)
			if err != nil {
				t.Fatal(err)
			}
			if wide := p.ratio.Width > p.ratio.Height; wide == (turned >= 5 && turned <= 8) {
				t.Errorf("%d: shown with %+v", turned, p.ratio)
			}
			if p.change == "" {
				continue
			}
			r, err := p.file.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := jpeg.Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			if is := corner(got); is != want {
				t.Errorf("%d: the red corner is %s, want %s", turned, is, want)
			}
		}
	}
}

// corner says where an image is red.
func corner(m image.Image) string {
	b := m.Bounds()
	for name, p := range map[string]image.Point{
		"top left": {2, 2}, "top right": {b.Dx() - 3, 2}, "bottom left": {2, b.Dy() - 3}, "bottom right": {b.Dx() - 3, b.Dy() - 3},
	} {
		if r, _, _, _ := m.At(p.X, p.Y).RGBA(); r > 0xc000 {
			return name
		}
	}
	return "nowhere"
}

// TestFitOfWhatCantBeRead: that the storage fails says nothing of the image, wherever it does, and is tried again.
func TestFitOfWhatCantBeRead(t *testing.T) {
	away := errors.New("the storage is away")
	image := append([]byte("\xff\xd8"), bytes.Repeat(append([]byte{0xff, 0xe2, 0xff, 0xff}, make([]byte, 0xffff-2)...), 2*maxHead/0xffff)...)
	for _, after := range []int{0, 1000, maxHead, len(image)} {
		open := func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(image[:after]), iotest.ErrReader(away))), nil
		}
		if _, err := fit(t.Context(), original{open: open, size: 2 * maxHead, contentType: "image/jpeg"}, 1000); !errors.Is(err, away) {
			t.Errorf("after %d bytes: %v", after, err)
		}
	}
}

// TestSmallerOfWhatCantBeRead: so it is of an image that has to be made smaller, which is opened three times: for its
// head, for how its pixels are stored, and for its pixels.
func TestSmallerOfWhatCantBeRead(t *testing.T) {
	away := errors.New("the storage is away")
	given := exif(t, image.NewGray(image.Rect(0, 0, 64, 64)), 1)
	note := 4 + int(given[5])
	given = slices.Concat(given[:note], []byte{0xff, 0xe2, 0x7f, 0xff}, make([]byte, 0x7fff-2), given[note:])
	for failing := 1; failing <= 4; failing++ {
		for _, after := range []int{0, 1000, 0x7fff} {
			opened := 0
			open := func(context.Context) (io.ReadCloser, error) {
				if opened++; opened == failing {
					return io.NopCloser(io.MultiReader(bytes.NewReader(given[:after]), iotest.ErrReader(away))), nil
				}
				return io.NopCloser(bytes.NewReader(given)), nil
			}
			o := original{open: open, size: int64(len(given)), contentType: "image/jpeg"}
			if _, err := fit(t.Context(), o, o.size-1); errors.Is(err, away) != (failing <= 3) || opened < min(failing, 3) {
				t.Errorf("opened for the %d. time, after %d bytes: %v", failing, after, err)
			}
		}
	}
}

// TestFit: quality first, dimensions last; transparent parts and movement go with a word.
func TestFit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	m := image.NewNRGBA(image.Rect(0, 0, 400, 200))
	for i := range m.Pix {
		m.Pix[i] = byte(random.UintN(256))
	}
	var asPNG, asGIF bytes.Buffer
	if err := errors.Join(png.Encode(&asPNG, m), gif.Encode(&asGIF, m, nil)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		given   []byte
		most    int64
		smaller bool // in pixels
		words   string
	}{
		{"small enough", asPNG.Bytes(), int64(asPNG.Len()), false, ""},
		{"less quality", asPNG.Bytes(), int64(asPNG.Len()) / 2, false, "transparent parts became white"},
		{"fewer pixels", asPNG.Bytes(), 8000, true, "pixels in place of 400 × 200; its transparent"},
		{"a GIF", asGIF.Bytes(), int64(asGIF.Len()) - 1, false, "does not move any more"},
	} {
		p, err := fit(t.Context(), original{open: openBytes(c.given), size: int64(len(c.given))}, c.most)
		if err != nil {
			t.Fatal(err)
		}
		if p.file.size > c.most || (p.ratio.Width < 400) != c.smaller || !strings.Contains(p.change, c.words) || (p.change == "") != (c.words == "") {
			t.Errorf("%s: %d bytes, %+v, %q", c.name, p.file.size, p.ratio, p.change)
		}
	}
}

// TestImagesThatCantBeMadeSmaller: a few bytes that claim to be a large image are not believed to the memory's end.
func TestImagesThatCantBeMadeSmaller(t *testing.T) {
	var tiny bytes.Buffer
	if err := png.Encode(&tiny, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		t.Fatal(err)
	}
	huge := bytes.Clone(tiny.Bytes())
	copy(huge[16:24], []byte{0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20}) // 20,000 × 20,000
	sum := crcOf(huge[12:29])
	copy(huge[29:33], sum)
	for name, given := range map[string][]byte{"huge": huge, "nothing": nil, "text": []byte("text")} {
		_, err := fit(t.Context(), original{open: openBytes(given), size: 5_000_000, contentType: "image/png"}, 1000)
		if !errors.As(err, new(errImage)) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// FuzzOrientation: whatever a file says, there is an answer.
func FuzzOrientation(f *testing.F) {
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x22Exif\x00\x00II\x2a\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"))
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x02\xff\xe0\x00\x00"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if n := orientation(head); n < 1 || n > 8 {
			t.Fatalf("%x is %d", head, n)
		}
	})
}
