// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

// Limits are what a platform is known to refuse: facts that can be checked without asking it.
type Limits struct {
	TextGraphemes         int
	TextBytes             int // of UTF-8; 0: bounded by the graphemes alone
	FirstCommentGraphemes int
	FirstCommentBytes     int // of UTF-8; 0: bounded by the graphemes alone
	AltTextGraphemes      int

	Images, Videos         int // at most, and never both
	ImageTypes, VideoTypes []string
	ImageBytes, VideoBytes int64
}

// ofKind returns what is allowed of a kind of media: how many, of which types and of which size. Of a kind that is none
// nothing is allowed.
func (l *Limits) ofKind(kind string) (count int, types []string, size int64) {
	switch kind {
	case Image:
		return l.Images, l.ImageTypes, l.ImageBytes
	case Video:
		return l.Videos, l.VideoTypes, l.VideoBytes
	}
	return 0, nil, 0
}
