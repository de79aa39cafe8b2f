// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
)

// family is one grapheme of 25 bytes.
const family = "👨‍👩‍👧‍👦"

func images(n int) []platform.Media {
	return slices.Repeat([]platform.Media{{Kind: platform.Image, ContentType: "image/png", SizeBytes: 1}}, n)
}

var video = platform.Media{Kind: platform.Video, ContentType: "video/mp4", SizeBytes: 1}

func with(m platform.Media, mod func(*platform.Media)) []platform.Media {
	mod(&m)
	return []platform.Media{m}
}

func TestCheck(t *testing.T) {
	image := images(1)[0]
	for _, tc := range []struct {
		reason   string
		platform platform.Name
		content  platform.Content
		want     string // "": all is well
	}{
		{"an ordinary post", "bluesky", platform.Content{Text: "Hello"}, ""},
		{"neither text nor media", "bluesky", platform.Content{}, "bluesky.text.non_empty"},
		{"blanks are no text", "linkedin", platform.Content{Text: " \n\u00a0"}, "linkedin.text.non_empty"},
		{"a zero-width space is no text", "bluesky", platform.Content{Text: "\u200b"}, "bluesky.text.non_empty"},
		{"a word joiner is no text", "linkedin", platform.Content{Text: "\u2060\n"}, "linkedin.text.non_empty"},
		{"media need no text", "bluesky", platform.Content{Media: images(1)}, ""},

		{"300 letters", "bluesky", platform.Content{Text: strings.Repeat("a", 300)}, ""},
		{"301 letters", "bluesky", platform.Content{Text: strings.Repeat("a", 301)}, "bluesky.text.max_graphemes"},
		{"what is counted is graphemes, not code points", "bluesky", platform.Content{Text: strings.Repeat(family, 120)}, ""},
		{"300 graphemes that are too many bytes", "bluesky", platform.Content{Text: strings.Repeat(family, 121)}, "bluesky.text.max_bytes"},
		{"combining marks are no graphemes", "bluesky", platform.Content{Text: strings.Repeat("e\u0301", 300)}, ""},
		{"conjuncts of Devanagari", "bluesky", platform.Content{Text: strings.Repeat("क्ष", 200)}, ""},
		{"300 of them", "bluesky", platform.Content{Text: strings.Repeat("क्ष", 300)}, ""},
		{"301 of them", "linkedin", platform.Content{Text: strings.Repeat("क्ष", 3001)}, "linkedin.text.max_graphemes"},
		{"LinkedIn takes 3,000", "linkedin", platform.Content{Text: strings.Repeat(family, 3000)}, ""},
		{"and no more", "linkedin", platform.Content{Text: strings.Repeat("a", 3001)}, "linkedin.text.max_graphemes"},

		{"4 images", "bluesky", platform.Content{Media: images(4)}, ""},
		{"5 images", "bluesky", platform.Content{Media: images(5)}, "bluesky.media.count_max"},
		{"LinkedIn takes 20", "linkedin", platform.Content{Media: images(20)}, ""},
		{"and no more", "linkedin", platform.Content{Media: images(21)}, "linkedin.media.count_max"},
		{"2 videos", "bluesky", platform.Content{Media: []platform.Media{video, video}}, "bluesky.media.count_max"},
		{"an image and a video", "bluesky", platform.Content{Media: []platform.Media{image, video}}, "bluesky.media.image_video_exclusive"},
		{"a WebP", "bluesky", platform.Content{Media: with(image, func(m *platform.Media) { m.ContentType = "image/webp" })}, ""},
		{"LinkedIn takes none", "linkedin", platform.Content{Media: with(image, func(m *platform.Media) { m.ContentType = "image/webp" })}, "linkedin.media.mime_allowed"},
		{"a QuickTime video", "bluesky", platform.Content{Media: with(video, func(m *platform.Media) { m.ContentType = "video/quicktime" })}, "bluesky.media.mime_allowed"},
		{"a video that is called an image", "bluesky", platform.Content{Media: with(video, func(m *platform.Media) { m.Kind = platform.Image })}, "bluesky.media.mime_allowed"},
		{"a kind that is none", "bluesky", platform.Content{Media: with(image, func(m *platform.Media) { m.Kind = "smell" })}, "bluesky.media.mime_allowed"},
		{"an image of 20,000,000 bytes", "bluesky", platform.Content{Media: with(image, func(m *platform.Media) { m.SizeBytes = 20_000_000 })}, ""},
		{"one byte more", "bluesky", platform.Content{Media: with(image, func(m *platform.Media) { m.SizeBytes = 20_000_001 })}, "bluesky.media.image_size_max"},
		{"a video of 100,000,001 bytes", "bluesky", platform.Content{Media: with(video, func(m *platform.Media) { m.SizeBytes = 100_000_001 })}, "bluesky.media.video_size_max"},
		{"2,000 graphemes of alternative text", "bluesky", platform.Content{Media: with(image, func(m *platform.Media) { m.AltText = strings.Repeat(family, 2000) })}, ""},
		{"one more", "bluesky", platform.Content{Media: with(image, func(m *platform.Media) { m.AltText = strings.Repeat("a", 2001) })}, "bluesky.media.alt_text_max_graphemes"},

		{"a first comment", "bluesky", platform.Content{Text: "a", FirstComment: strings.Repeat("a", 300)}, ""},
		{"one that is too long", "bluesky", platform.Content{Text: "a", FirstComment: strings.Repeat("a", 301)}, "bluesky.first_comment.max_graphemes"},
		{"one of too many bytes", "bluesky", platform.Content{Text: "a", FirstComment: strings.Repeat(family, 299)}, "bluesky.first_comment.max_bytes"},
		{"LinkedIn's comments are shorter than its posts", "linkedin", platform.Content{Text: "a", FirstComment: strings.Repeat("a", 1251)}, "linkedin.first_comment.max_graphemes"},

		{"a reply", "bluesky", platform.Content{Text: "a", Options: platform.Options{ReplyToURI: "u", ReplyToCID: "c"}}, ""},
		{"a reply in a thread", "bluesky", platform.Content{Text: "a", Options: platform.Options{ReplyToURI: "u", ReplyToCID: "c", ReplyRootURI: "r", ReplyRootCID: "c"}}, ""},
		{"a reply to half a post", "bluesky", platform.Content{Text: "a", Options: platform.Options{ReplyToCID: "c"}}, "bluesky.reply.parent"},
		{"half a thread", "bluesky", platform.Content{Text: "a", Options: platform.Options{ReplyToURI: "u", ReplyToCID: "c", ReplyRootURI: "r"}}, "bluesky.reply.root"},
		{"a thread without a post of it", "bluesky", platform.Content{Text: "a", Options: platform.Options{ReplyRootURI: "r", ReplyRootCID: "c"}}, "bluesky.reply.root"},
		{"a quote alone", "bluesky", platform.Content{Options: platform.Options{QuoteURI: "u", QuoteCID: "c"}}, ""},
		{"half a quote", "bluesky", platform.Content{Text: "a", Options: platform.Options{QuoteURI: "u"}}, "bluesky.quote.post"},
		{"LinkedIn has no quotes", "linkedin", platform.Content{Text: "a", Options: platform.Options{QuoteURI: "u", QuoteCID: "c"}}, "linkedin.quote.unsupported"},
		{"languages", "bluesky", platform.Content{Text: "a", Options: platform.Options{Langs: []string{"en", "pt-BR", "zh-Hant-TW"}}}, ""},
		{"four languages", "bluesky", platform.Content{Text: "a", Options: platform.Options{Langs: []string{"en", "de", "fr", "it"}}}, "bluesky.langs.tags"},
		{"no language", "bluesky", platform.Content{Text: "a", Options: platform.Options{Langs: []string{"English please"}}}, "bluesky.langs.tags"},
		{"LinkedIn has no languages", "linkedin", platform.Content{Text: "a", Options: platform.Options{Langs: []string{"en"}}}, "linkedin.langs.unsupported"},
		{"LinkedIn has no replies", "linkedin", platform.Content{Text: "a", Options: platform.Options{ReplyToURI: "u", ReplyToCID: "c"}}, "linkedin.reply.unsupported"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			p, ok := catalog.All.Get(tc.platform)
			if !ok {
				t.Fatalf("there is no platform %s", tc.platform)
			}
			f := p.Check(tc.content)
			switch {
			case f == nil && tc.want == "":
			case f == nil:
				t.Errorf("it passed, want %s", tc.want)
			case f.Rule != tc.want:
				t.Errorf("rule is %q (%s), want %q", f.Rule, f.Message, tc.want)
			case f.Code != platform.CodePreflightFailed || f.Message == "" || f.Remediation == "":
				t.Errorf("failure is %+v, want the code %s, a message and a remediation", f, platform.CodePreflightFailed)
			case !slices.ContainsFunc(p.Rules(), func(r platform.Rule) bool { return r.ID == tc.want }):
				t.Errorf("Rules() does not list %s", tc.want)
			}
		})
	}
}

func TestEveryPlatformHasLimits(t *testing.T) {
	for _, p := range catalog.All {
		if found, ok := catalog.All.Get(p.Name); !ok || found.Name != p.Name {
			t.Errorf("Get(%s) = %v, %v", p.Name, found.Name, ok)
		}
		for _, r := range p.Rules() {
			if !strings.HasPrefix(r.ID, string(p.Name)+".") || strings.Contains(r.Means, " 0 ") {
				t.Errorf("rule %s: %q", r.ID, r.Means)
			}
		}
	}
	if _, ok := catalog.All.Get("myspace"); ok {
		t.Error("there is an unknown platform")
	}
}

// What is one grapheme by Unicode 15.1 and later: conjuncts, with a vowel, with ZWJ or a nukta in them, and of three
// consonants.
func TestConjunctsAreOneGrapheme(t *testing.T) {
	bluesky, _ := catalog.All.Get("bluesky")
	for script, conjuncts := range map[string][]string{
		"Devanagari": {"क्ष", "त्र", "क्षि", "क्\u200dष", "क़्ष", "स्त्र"},
		"Bengali":    {"ক্ষ", "ন্ত্র"}, "Telugu": {"క్ష", "స్త్ర"}, "Gujarati": {"ક્ષ"}, "Malayalam": {"ക്ഷ"}, "Odia": {"କ୍ଷ"},
	} {
		for _, c := range conjuncts {
			bluesky.Limits.TextBytes = 0
			if f := bluesky.Check(platform.Content{Text: strings.Repeat(c, 300)}); f != nil {
				t.Errorf("%s: 300 × %s: %s", script, c, f.Message)
			}
			if f := bluesky.Check(platform.Content{Text: strings.Repeat(c, 301)}); f == nil || !strings.Contains(f.Message, "301") {
				t.Errorf("%s: 301 × %s: %+v", script, c, f)
			}
		}
	}
}

func TestIsBlank(t *testing.T) {
	for _, blank := range []string{
		"", " ", "\t\r\n", "\u00a0", "\u00ad", "\u034f", "\u061c", "\u115f\u1160", "\u180e", "\u200b", "\u200d", "\u200e\u200f", "\u2028", "\u2060",
		"\u2064", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\u202e\u202c", "\U000e0001", "\U000e0100", " \u200b \u2060\n",
	} {
		if !platform.IsBlank(blank) {
			t.Errorf("%q is seen", blank)
		}
	}
	for _, seen := range []string{"a", "0", ".", "\u200ba", "é", "e\u0301", "👨‍👩‍👧‍👦", "❤\ufe0f", "\u0600", "ー", "\u00b7", "क्ष"} {
		if platform.IsBlank(seen) {
			t.Errorf("%q is not seen", seen)
		}
	}
}
