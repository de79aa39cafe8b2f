// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"bytes"
	"context"
	"errors"
	stdimage "image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// noise is an image that hardly gets smaller by compression.
func noise(width, height int) *stdimage.NRGBA {
	random := rand.New(rand.NewPCG(1, 2))
	m := stdimage.NewNRGBA(stdimage.Rect(0, 0, width, height))
	for i := range m.Pix {
		m.Pix[i] = byte(random.UintN(256))
	}
	return m
}

// TestMediumIsGone: no server has to do with a medium that can't be opened, and none is blamed.
func TestMediumIsGone(t *testing.T) {
	w := newWorld(t)
	for reason, m := range map[string]platform.Media{
		"an image": medium("image/png", nil), "a video": medium("video/mp4", []byte("video")),
	} {
		m.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("bucket-of-somebody") }
		if m.ContentType == "video/mp4" {
			m.Kind = platform.Video
		}
		o, ok := w.send(t, w.publication(w.connect(t), platform.Content{Media: []platform.Media{m}})).(platform.NotTaken)
		if !ok || o.Failure.Code != platform.CodeInternalError || strings.Contains(o.Failure.Message, "bucket") {
			t.Errorf("%s: %+v", reason, o)
		}
	}
}

func medium(contentType string, b []byte) platform.Media {
	return platform.Media{
		Kind: platform.Image, ContentType: contentType, SizeBytes: int64(len(b)), AltText: "Alternative",
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}

func pngOf(t *testing.T, m stdimage.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t *testing.T, m stdimage.Image, quality int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// image is a small one.
func image(t *testing.T, width, height int) platform.Media {
	t.Helper()
	m := stdimage.NewRGBA(stdimage.Rect(0, 0, width, height))
	m.Set(0, 0, color.White)
	return medium("image/png", pngOf(t, m))
}

func TestImages(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 4} {
		w := newWorld(t)
		var media []platform.Media
		for i := range n {
			media = append(media, image(t, 20+i, 10))
		}
		media[0].AltText = "" // which is an alternative too
		r := w.publish(t, platform.Content{Media: media})
		p := w.only(t)
		if p.Embed == nil || p.Embed.Type != "app.bsky.embed.images" || len(p.Embed.Images) != n || len(r.Warnings) > 0 {
			t.Fatalf("%d images: %+v, warnings %v", n, p.Embed, r.Warnings)
		}
		for i, got := range p.Embed.Images {
			if got.Alt != media[i].AltText || got.Image.Size != int(media[i].SizeBytes) || got.Image.MimeType != "image/png" ||
				got.AspectRatio == nil || got.AspectRatio.Width != 20+i || got.AspectRatio.Height != 10 {
				t.Errorf("image %d of %d: %+v %+v", i, n, got, got.AspectRatio)
			}
		}
	}
}

// TestLargeImage: it is sent with less quality, and says so. This server takes 1,000,000 bytes, which shows when it
// refuses more.
func TestLargeImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	photo := jpegOf(t, noise(1400, 1000), 95) // noise with 1,400,000 points: some 1.6 MB
	if len(photo) < 1_000_001 || len(photo) > 2_000_000 {
		t.Fatalf("the image has %d bytes", len(photo))
	}
	r := w.publish(t, platform.Content{Media: []platform.Media{medium("image/jpeg", photo)}})
	got := w.only(t).Embed.Images[0]
	if got.Image.Size > 1_000_000 || got.Image.MimeType != "image/jpeg" || got.AspectRatio.Width*1000/got.AspectRatio.Height != 1400 {
		t.Errorf("image %+v %+v", got, got.AspectRatio)
	}
	if len(r.Warnings) != 1 || r.Warnings[0].Code != "bluesky.image.reencoded" {
		t.Fatalf("warnings %+v", r.Warnings)
	}
	contains(t, "warning", r.Warnings[0].Message, "Image 1 had")
	if strings.Contains(r.Warnings[0].Message, "pixels") {
		t.Errorf("it lost pixels though quality was enough: %s", r.Warnings[0].Message)
	}
}

// TestImageThatCantBeMadeSmaller is a failure in words, before anything is published.
func TestImageThatCantBeMadeSmaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := append(pngOf(t, stdimage.NewGray(stdimage.Rect(0, 0, 10, 10)))[:40], make([]byte, 3_000_000)...)
	o, ok := w.send(t, w.publication(w.connect(t), platform.Content{Media: []platform.Media{medium("image/png", broken)}})).(platform.Rejected)
	if !ok || o.Failure.Rule != "bluesky.image" {
		t.Fatalf("outcome %+v", o)
	}
	contains(t, "message", o.Failure.Message, "can't be read")
	if n := len(w.posts(t)); n > 0 {
		t.Errorf("there are %d posts", n)
	}
}

func TestVideo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := medium("video/mp4", append([]byte("\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"), make([]byte, 1000)...))
	v.Kind = platform.Video
	w.publish(t, platform.Content{Media: []platform.Media{v}})
	if p := w.only(t); p.Embed == nil || p.Embed.Type != "app.bsky.embed.video" || p.Embed.Video.MimeType != "video/mp4" {
		t.Errorf("embed %+v", p.Embed)
	}
}

// TestLinkCard: a page on this machine, which the guard lets through.
func TestLinkCard(t *testing.T) {
	t.Parallel()
	large := pngOf(t, noise(900, 600)) // 1.6 MB or so
	var site string
	page := standIn(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
			_, _ = io.WriteString(w, "<html><head><title>not this</title><meta property=\"og:title\" content=\"Caf\xe9 &amp; more\">"+
				`<meta property="og:description" content="A  page"><meta property="og:image" content="/picture"></head>`)
		case "/picture":
			_, _ = w.Write(large)
		case "/bare":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>Bare</title><meta property=og:image content=/missing>")
		case "/spoilt": // whose picture is too large, and can't be made smaller
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>Spoilt</title><meta property=og:image content=/noise>")
		case "/noise":
			_, _ = w.Write(append(bytes.Clone(large[:1000]), make([]byte, 1_500_000)...))
		case "/endless": // whose picture is more than anybody reads
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>Endless</title><meta property=og:image content=/zeros>")
		case "/zeros":
			_, _ = w.Write(append(bytes.Clone(large), make([]byte, 30<<20)...))
		case "/inside": // whose picture is where nobody is to be led
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>Inside</title><meta property=og:image content=http://169.254.169.254/latest>")
		case "/redirect":
			http.Redirect(w, r, "http://[::1]:1/", http.StatusFound)
		case "/pdf":
			w.Header().Set("Content-Type", "application/pdf")
		case "/huge":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<title>Huge</title><body>")
			_, _ = w.Write(make([]byte, 10<<20))
		default:
			http.NotFound(w, r)
		}
	})
	site = page.URL
	w := newWorld(t, site)
	for _, c := range []struct{ path, title, description, warning string }{
		{"/page", "Café & more", "A page", ""},
		{"/bare", "Bare", "", "bluesky.card.picture_skipped"},
		{"/spoilt", "Spoilt", "", "bluesky.card.picture_skipped"},
		{"/endless", "Endless", "", "bluesky.card.picture_skipped"},
		{"/inside", "Inside", "", "bluesky.card.picture_skipped"},
		{"/huge", "Huge", "", ""},
		{"/redirect", "", "", "bluesky.card.skipped"},
		{"/pdf", "", "", "bluesky.card.skipped"},
		{"/gone", "", "", "bluesky.card.skipped"},
	} {
		text := "Look: " + site + c.path
		r := w.publish(t, platform.Content{Text: text})
		p := w.posts(t)[0]
		if len(p.Facets) != 1 || p.Facets[0].Features[0]["uri"] != site+c.path {
			t.Errorf("%s: facets %+v", c.path, p.Facets)
		}
		if (len(r.Warnings) == 1) != (c.warning != "") || c.warning != "" && r.Warnings[0].Code != c.warning {
			t.Errorf("%s: warnings %+v", c.path, r.Warnings)
		}
		if c.title == "" {
			if p.Embed != nil {
				t.Errorf("%s: embed %+v", c.path, p.Embed)
			}
			continue
		}
		if p.Embed == nil || p.Embed.External == nil {
			t.Errorf("%s: no card", c.path)
			continue
		}
		if e := p.Embed.External; e.URI != site+c.path || e.Title != c.title || e.Description != c.description {
			t.Errorf("%s: card %+v", c.path, e)
		}
		if thumb := p.Embed.External.Thumb; (thumb != nil) != (c.path == "/page") || thumb != nil && (thumb.Size > 1_000_000 || thumb.MimeType != "image/jpeg") {
			t.Errorf("%s: picture %+v", c.path, thumb)
		}
	}
}
