// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rivo/uniseg"
)

// Rule is one thing that a platform is known to refuse.
type Rule struct {
	ID    string // such as "bluesky.text.max_graphemes"
	Means string // one sentence, for documentation
}

// rule is a Rule of any platform.
type rule struct {
	id    string // without the platform
	means func(Limits) string
	// broken says how a content breaks the rule, and what to do about it; "": it does not.
	broken func(l Limits, c Content) (message, remediation string)
}

// rules are checked in this order, which is that of the fields in a request. The first one that is broken is told.
var rules = []rule{
	{
		"text.non_empty",
		func(Limits) string { return "A post needs text, or media." },
		func(_ Limits, c Content) (string, string) {
			if len(c.Media) > 0 || strings.TrimSpace(c.Text) != "" {
				return "", ""
			}
			return "The post has neither text nor media.", "Give the post a text, or attach media."
		},
	},
	{
		"text.max_graphemes",
		func(l Limits) string { return fmt.Sprintf("The text has at most %d graphemes.", l.TextGraphemes) },
		func(l Limits, c Content) (string, string) {
			return tooLong(l, "text", c.Text, l.TextGraphemes, 0)
		},
	},
	{
		"text.max_bytes",
		func(l Limits) string { return bytesMeans("text", l.TextBytes) },
		func(l Limits, c Content) (string, string) { return tooManyBytes(l, "text", c.Text, l.TextBytes) },
	},
	{
		"media.image_video_exclusive",
		func(Limits) string { return "A post has images or a video, not both." },
		func(l Limits, c Content) (string, string) {
			if countOf(c, Image) == 0 || countOf(c, Video) == 0 {
				return "", ""
			}
			return l.Title + " takes images or a video in a post, not both.", "Make two posts of it."
		},
	},
	{
		"media.count_max",
		func(l Limits) string {
			return fmt.Sprintf("A post has at most %d images, or %d video.", l.Images, l.Videos)
		},
		tooMany,
	},
	{
		"media.mime_allowed",
		func(l Limits) string {
			return "Images are " + strings.Join(l.ImageTypes, ", ") + "; videos are " + strings.Join(l.VideoTypes, ", ") + "."
		},
		wrongType,
	},
	{
		"media.image_size_max",
		func(l Limits) string { return fmt.Sprintf("An image has at most %d bytes.", l.ImageBytes) },
		func(l Limits, c Content) (string, string) { return tooLarge(l, c, Image) },
	},
	{
		"media.video_size_max",
		func(l Limits) string { return fmt.Sprintf("A video has at most %d bytes.", l.VideoBytes) },
		func(l Limits, c Content) (string, string) { return tooLarge(l, c, Video) },
	},
	{
		"media.alt_text_max_graphemes",
		func(l Limits) string {
			return fmt.Sprintf("An alternative text has at most %d graphemes.", l.AltTextGraphemes)
		},
		func(l Limits, c Content) (string, string) {
			for i, m := range c.Media {
				if message, remediation := tooLong(l, "alternative text", m.AltText, l.AltTextGraphemes, i+1); message != "" {
					return message, remediation
				}
			}
			return "", ""
		},
	},
	{
		"first_comment.max_graphemes",
		func(l Limits) string {
			return fmt.Sprintf("The first comment has at most %d graphemes.", l.FirstCommentGraphemes)
		},
		func(l Limits, c Content) (string, string) {
			return tooLong(l, "first comment", c.FirstComment, l.FirstCommentGraphemes, 0)
		},
	},
	{
		"first_comment.max_bytes",
		func(l Limits) string { return bytesMeans("first comment", l.FirstCommentBytes) },
		func(l Limits, c Content) (string, string) {
			return tooManyBytes(l, "first comment", c.FirstComment, l.FirstCommentBytes)
		},
	},
	{
		"reply.unsupported",
		func(l Limits) string {
			if l.Replies {
				return ""
			}
			return "There are no replies by URI and CID."
		},
		func(l Limits, c Content) (string, string) {
			if o := c.Options; l.Replies || o.ReplyToURI+o.ReplyToCID+o.ReplyRootURI+o.ReplyRootCID == "" {
				return "", ""
			}
			return l.Title + " has no replies by URI and CID.", "Leave the reply options out."
		},
	},
	{
		"reply.parent",
		ifReplies("A reply names the post that it answers by replyToUri and replyToCid, both."),
		func(_ Limits, c Content) (string, string) {
			if (c.Options.ReplyToURI == "") == (c.Options.ReplyToCID == "") {
				return "", ""
			}
			return "Only one of replyToUri and replyToCid is set.", "Set both, or neither."
		},
	},
	{
		"reply.root",
		ifReplies(
			"A reply may name the first post of its thread by replyRootUri and replyRootCid, both, beside the post that it answers.",
		),
		func(_ Limits, c Content) (string, string) {
			switch o := c.Options; {
			case (o.ReplyRootURI == "") != (o.ReplyRootCID == ""):
				return "Only one of replyRootUri and replyRootCid is set.", "Set both, or neither."
			case o.ReplyRootURI != "" && o.ReplyToURI == "":
				return "A thread is named, and no post of it that is answered.", "Set replyToUri and replyToCid too."
			}
			return "", ""
		},
	},
}

// Rules lists what Check checks, in its order.
func (l Limits) Rules() []Rule {
	var list []Rule
	for _, r := range rules {
		if means := r.means(l); means != "" {
			list = append(list, Rule{ID: string(l.Platform) + "." + r.id, Means: means})
		}
	}
	return list
}

// Check says what the platform would refuse, or nil. Nothing is opened or asked.
func (l Limits) Check(c Content) *Failure {
	for _, r := range rules {
		if message, remediation := r.broken(l, c); message != "" {
			return &Failure{
				Code:        CodePreflightFailed,
				Message:     message,
				Rule:        string(l.Platform) + "." + r.id,
				Remediation: remediation,
			}
		}
	}
	return nil
}

func countOf(c Content, kind string) (n int) {
	for _, m := range c.Media {
		if m.Kind == kind {
			n++
		}
	}
	return n
}

// tooLong counts what people see as characters (UAX #29), as the platforms do. number is that of the medium, if it is
// one's.
func tooLong(l Limits, what, text string, most, number int) (message, remediation string) {
	if len(text) <= most { // no text has more graphemes than bytes
		return "", ""
	}
	n := uniseg.GraphemeClusterCount(text)
	if n <= most {
		return "", ""
	}
	if number > 0 {
		what = fmt.Sprintf("%s of medium %d", what, number)
	}
	return fmt.Sprintf("The %s has %d graphemes; %s takes at most %d.", what, n, l.Title, most), "Shorten it."
}

func bytesMeans(what string, most int) string {
	if most == 0 {
		return ""
	}
	return fmt.Sprintf("The %s has at most %d bytes of UTF-8.", what, most)
}

func tooManyBytes(l Limits, what, text string, most int) (message, remediation string) {
	if most == 0 || len(text) <= most {
		return "", ""
	}
	return fmt.Sprintf(
		"The %s has %d bytes; %s takes at most %d.",
		what,
		len(text),
		l.Title,
		most,
	), "Shorten it, or use simpler characters."
}

func tooMany(l Limits, c Content) (message, remediation string) {
	for _, kind := range []string{Image, Video} {
		if most, _, _ := l.ofKind(kind); countOf(c, kind) > most {
			return fmt.Sprintf(
				"The post has %d %ss; %s takes at most %d.",
				countOf(c, kind),
				kind,
				l.Title,
				most,
			), "Make several posts of it."
		}
	}
	return "", ""
}

// wrongType refuses a kind that is none as well: nothing is allowed of it.
func wrongType(l Limits, c Content) (message, remediation string) {
	for i, m := range c.Media {
		if _, types, _ := l.ofKind(m.Kind); !slices.Contains(types, m.ContentType) {
			return fmt.Sprintf("Medium %d is of type %s, which %s does not take as %s.", i+1, m.ContentType, l.Title, m.Kind),
				"Convert it, or give the kind that it is: " + strings.Join(
					slices.Concat(l.ImageTypes, l.VideoTypes),
					", ",
				) + " are taken."
		}
	}
	return "", ""
}

func tooLarge(l Limits, c Content, kind string) (message, remediation string) {
	_, _, most := l.ofKind(kind)
	for i, m := range c.Media {
		if m.Kind == kind && m.SizeBytes > most {
			return fmt.Sprintf(
				"Medium %d has %d bytes; %s takes %ss of at most %d.",
				i+1,
				m.SizeBytes,
				l.Title,
				kind,
				most,
			), "Make it smaller."
		}
	}
	return "", ""
}

func ifReplies(means string) func(Limits) string {
	return func(l Limits) string {
		if l.Replies {
			return means
		}
		return ""
	}
}
