// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // decoders of what is taken
	"image/jpeg"
	_ "image/png"
	"io"
	"math"
	"strings"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// picture is an image as it is uploaded.
type picture struct {
	file   *file
	ratio  *aspectRatio // nil: not known
	change string       // what was done to it, in words; "": nothing
}

// original is an image as it is given. open may be called several times. Each open begins at the first byte.
type original struct {
	open        func(context.Context) (io.ReadCloser, error)
	size        int64
	contentType string // "": by its bytes
}

func openBytes(b []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

const (
	// maxHead is how far into an image it is looked for which way up it is.
	maxHead = 1 << 20
	// maxDecoded bounds the memory of one image that is decoded, in bytes. Copies that are made of it on the way come
	// on top. docs/accounts.md says how many pixels that is.
	maxDecoded = 100 << 20
)

// decoding lets one image at a time be decoded, by all of the process: they are the largest things in its memory.
var decoding oneAtATime

// errImage says in words why an image can't be sent.
type errImage string

func (e errImage) Error() string { return string(e) }

// fit returns an image of at most so many bytes. What is small enough stays as it is, to the byte. What is not is
// encoded anew: at first with less quality, and only when that is not enough, with fewer pixels. The error is ctx's,
// the storage's, or an errImage, which is for the image's author.
func fit(ctx context.Context, o original, most int64) (picture, error) {
	h, err := headOf(ctx, o)
	if err != nil {
		return picture{}, err
	}
	if o.contentType == "" && h.broken == nil {
		o.contentType = "image/" + h.format
	}
	// Also one that can't be read here: it is small enough, so whether it is an image is for the server to say.
	if o.size <= most && o.contentType != "" {
		p := picture{file: &file{open: o.open, size: o.size, contentType: o.contentType}}
		if h.broken == nil && h.config.Width > 0 && h.config.Height > 0 {
			p.ratio = ratioOf(h.config.Width, h.config.Height, h.turned)
		}
		return p, nil
	}
	if err := h.checkSize(ctx, o); err != nil {
		return picture{}, err
	}
	return shrinkInTurn(ctx, o, h.format, h.turned, most)
}

// checkSize says why an image can't be decoded here. How a JPEG stores its pixels is looked at only now, from its
// beginning: most images need not be made smaller.
func (h *head) checkSize(ctx context.Context, o original) (err error) {
	if h.broken != nil {
		return errImage("it can't be read, and so not be made smaller")
	}
	if h.format == "jpeg" {
		if h.jpeg, err = frameIn(ctx, o); err != nil {
			return err
		}
	}
	if h.decodedSize() > maxDecoded {
		return errImage(fmt.Sprintf("with %d × %d pixels it is too large to be made smaller here",
			h.config.Width, h.config.Height))
	}
	return nil
}

// shrinkInTurn is shrink when it is this image's turn.
func shrinkInTurn(ctx context.Context, o original, format string, turned int, most int64) (picture, error) {
	if err := decoding.enter(ctx, platform.OrganizationOf(ctx)); err != nil {
		return picture{}, err
	}
	defer decoding.leave()
	return shrink(ctx, o, format, turned, most)
}

// decodedSize is roughly what an image takes in memory while it is decoded, in bytes. It is an estimate on the safe
// side, by what Go's decoders allocate.
func (h *head) decodedSize() int64 {
	pixels := int64(h.config.Width) * int64(h.config.Height)
	of := int64(0)
	if h.format == "jpeg" {
		of = h.jpeg.size(pixels)
	}
	switch h.config.ColorModel {
	case color.YCbCrModel: // most of them have one pair of colours for four points
		return max(of, 2*pixels)
	case color.CMYKModel:
		return max(of, 4*pixels)
	case color.GrayModel:
		return max(of, pixels)
	case color.NRGBA64Model, color.RGBA64Model:
		return 8 * pixels
	}
	return 4 * pixels
}

// frameIn reads how a JPEG stores its pixels. That it can't be read now is not that it does not say so.
func frameIn(ctx context.Context, o original) (jpegFrame, error) {
	r, err := o.open(ctx)
	if err != nil {
		return jpegFrame{}, fmt.Errorf("open an image: %w", err)
	}
	defer r.Close()
	from := &remembering{Reader: inTime{ctx, r}}
	frame := jpegFrameIn(from)
	if from.err != nil {
		return jpegFrame{}, fmt.Errorf("read an image: %w", from.err)
	}
	return frame, nil
}

// head is what an image says of itself before its pixels.
type head struct {
	config image.Config
	jpeg   jpegFrame // of one that is to be made smaller
	format string
	broken error // it can't be read; nil: it can
	turned int   // which way up it is, as cameras note it
}

// headOf reads what an image begins with. Its dimensions may stand behind profiles and depth maps of any size.
func headOf(ctx context.Context, o original) (h head, err error) {
	r, err := o.open(ctx)
	if err != nil {
		return h, fmt.Errorf("open an image: %w", err)
	}
	defer r.Close()
	from := &remembering{Reader: r}
	// Its error is not lost: from keeps it.
	begin, _ := io.ReadAll(io.LimitReader(from, maxHead))
	h.turned = orientation(begin)
	h.config, h.format, h.broken = image.DecodeConfig(io.MultiReader(bytes.NewReader(begin), from))
	if from.err != nil {
		return h, fmt.Errorf("read an image: %w", from.err)
	}
	return h, nil
}

// remembering is a reader that knows why it failed: what a decoder says of that can't be told from a broken image.
type remembering struct {
	io.Reader
	err error // nil: it did not fail
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// inTime ends with its context: a decoder does not look at that, and a file can have it go through its pixels a hundred
// thousand times.
type inTime struct {
	context.Context
	r io.Reader
}

func (i inTime) Read(p []byte) (int, error) {
	if err := i.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// decode reads an image. Its errors are those of ctx and of the storage, and errImage. The whole image is in memory
// then, so the caller has looked at its size (checkSize), and has its turn.
func decode(ctx context.Context, o original) (image.Image, error) {
	r, err := o.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open an image: %w", err)
	}
	defer r.Close()
	from := &remembering{Reader: inTime{ctx, r}}
	decoded, _, err := image.Decode(from)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && from.err != nil:
		return nil, fmt.Errorf("read an image: %w", from.err)
	case err != nil:
		return nil, errImage("it can't be read, and so not be made smaller")
	}
	return decoded, nil
}

// qualities are tried in this order, with all pixels: the last is the least that still looks like a photograph.
var qualities = []int{92, 85, 78, 70, 60}

// sizedQuality is that of images with fewer pixels.
// It is more than the last of qualities, since by then it is the number of pixels that makes the file small.
const sizedQuality = 80

// shrink makes a JPEG of at most so many bytes: with less quality first, which is seen least, then with fewer pixels.
// Each of its twelve tries has at most nine tenths of the width of the one before. Each begins with the whole image
// again, so that nothing is lost twice.
func shrink(ctx context.Context, o original, format string, turned int, most int64) (picture, error) {
	decoded, err := decode(ctx, o)
	if err != nil {
		return picture{}, err
	}
	// It is turned when it is encoded, and all sizes until then are those of its pixels as they lie.
	flat, wasOpaque := flatten(decoded)
	var notes []string
	if !wasOpaque {
		notes = append(notes, "its transparent parts became white")
	}
	if format == "gif" {
		notes = append(notes, "it does not move any more")
	}
	var last int
	for _, q := range qualities {
		encoded, err := encode(ctx, upright(flat, turned), q)
		if err != nil {
			return picture{}, err
		}
		if last = len(encoded); int64(last) <= most {
			return reencoded(encoded, o.size, flat.Bounds(), flat.Bounds(), turned, q, notes), nil
		}
	}
	// How many pixels fit follows roughly from how many bytes all of them take.
	small := flat
	for range 12 {
		b := small.Bounds()
		factor := min(0.9, math.Sqrt(float64(most)/float64(last)))
		small = scale(flat, max(1, int(float64(b.Dx())*factor)), max(1, int(float64(b.Dy())*factor)))
		encoded, err := encode(ctx, upright(small, turned), sizedQuality)
		if err != nil {
			return picture{}, err
		}
		if last = len(encoded); int64(last) <= most {
			return reencoded(encoded, o.size, flat.Bounds(), small.Bounds(), turned, sizedQuality, notes), nil
		}
	}
	return picture{}, errImage("it can't be made small enough")
}

// reencoded says in words what was done to an image: its author has not asked for it, and gets to know it.
func reencoded(b []byte, before int64, from, to image.Rectangle, turned, quality int, notes []string) picture {
	p := picture{
		file:  &file{open: openBytes(b), size: int64(len(b)), contentType: "image/jpeg"},
		ratio: ratioOf(to.Dx(), to.Dy(), turned),
	}
	p.change = fmt.Sprintf("had %d bytes and was sent as a JPEG of quality %d with %d bytes", before, quality, len(b))
	if from.Size() != to.Size() {
		was, is := ratioOf(from.Dx(), from.Dy(), turned), p.ratio
		p.change += fmt.Sprintf(" and %d × %d pixels in place of %d × %d", is.Width, is.Height, was.Width, was.Height)
	}
	if len(notes) > 0 {
		p.change += "; " + strings.Join(notes, ", and ")
	}
	return p
}

// flatten puts an image with transparent parts on white, because JPEG has none. What was a JPEG is opaque, and is not
// copied.
func flatten(m image.Image) (flat image.Image, wasOpaque bool) {
	if o, ok := m.(interface{ Opaque() bool }); ok && o.Opaque() {
		return m, true
	}
	on := image.NewRGBA(m.Bounds())
	draw.Draw(on, on.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(on, on.Bounds(), m, m.Bounds().Min, draw.Over)
	return on, false
}

// scale makes an image smaller, by halves at first: a filter that looks at all points at once takes ten times the
// memory, and this one would leave points out beyond the half.
func scale(m image.Image, width, height int) image.Image {
	for {
		b := m.Bounds()
		w, h := max(width, (b.Dx()+1)/2), max(height, (b.Dy()+1)/2)
		to := image.NewRGBA(image.Rect(0, 0, w, h))
		draw.ApproxBiLinear.Scale(to, to.Bounds(), m, b, draw.Src, nil)
		if m = to; w == width && h == height {
			return m
		}
	}
}

// encode makes a JPEG, which can't have a side of 65,536 points or more.
func encode(ctx context.Context, m image.Image, quality int) ([]byte, error) {
	if err := ctx.Err(); err != nil { // each takes a while
		return nil, err
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}); err != nil {
		return nil, errors.Join(errImage("it can't be encoded"), err)
	}
	return b.Bytes(), nil
}

// ratioOf is how an image is shown: turned by a quarter, its width is its height.
func ratioOf(width, height, turned int) *aspectRatio {
	if turned >= 5 {
		width, height = height, width
	}
	return &aspectRatio{width, height}
}
