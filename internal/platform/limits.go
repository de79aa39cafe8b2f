// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import "slices"

// Limits are what a platform is known to refuse: facts that can be checked without asking it.
type Limits struct {
	Platform Name
	Title    string // as people write it

	TextGraphemes         int
	TextBytes             int // 0: bounded by the graphemes alone
	FirstCommentGraphemes int
	FirstCommentBytes     int // 0: bounded by the graphemes alone
	AltTextGraphemes      int

	Images, Videos         int // at most, and never both
	ImageTypes, VideoTypes []string
	ImageBytes, VideoBytes int64

	Replies bool // it knows posts that answer others, by URI and CID
}

// limits of all platforms, in the order of Names.
//
// Bluesky: the lexicons app.bsky.feed.post, app.bsky.embed.images and app.bsky.embed.video; a first comment is a reply,
// which is a post. LinkedIn: the Posts, MultiImage, Videos and Comments APIs.
var limits = []Limits{{
	Platform:              Bluesky,
	Title:                 "Bluesky",
	TextGraphemes:         300,
	TextBytes:             3000,
	FirstCommentGraphemes: 300,
	FirstCommentBytes:     3000,
	AltTextGraphemes:      2000,
	Images:                4,
	Videos:                1,
	ImageTypes:            []string{"image/jpeg", "image/png", "image/webp", "image/gif"},
	VideoTypes:            []string{"video/mp4"},
	ImageBytes:            1_000_000,
	VideoBytes:            100_000_000,
	Replies:               true,
}, {
	Platform:              LinkedIn,
	Title:                 "LinkedIn",
	TextGraphemes:         3000,
	FirstCommentGraphemes: 1250,
	AltTextGraphemes:      4000,
	Images:                20,
	Videos:                1,
	ImageTypes:            []string{"image/jpeg", "image/png", "image/gif"},
	VideoTypes:            []string{"video/mp4"},
	ImageBytes:            5_000_000,
	VideoBytes:            500_000_000,
}}

// LimitsOf returns the limits of a platform, and whether there is such a platform.
func LimitsOf(name Name) (Limits, bool) {
	i := slices.IndexFunc(limits, func(l Limits) bool { return l.Platform == name })
	if i < 0 {
		return Limits{}, false
	}
	return limits[i], true
}

// ofKind returns what is allowed of a kind of media: how many, of which types and of which size.
func (l Limits) ofKind(kind string) (count int, types []string, size int64) {
	switch kind {
	case Image:
		return l.Images, l.ImageTypes, l.ImageBytes
	case Video:
		return l.Videos, l.VideoTypes, l.VideoBytes
	}
	return 0, nil, 0
}
