// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// Rule is one thing that a platform is known to refuse.
type Rule struct {
	ID    string // such as "bluesky.text.max_graphemes"; callers branch on it
	Means string // one sentence, for documentation
}

// rule is a Rule of any platform: how strict it is follows from the platform's Limits and Options.
type rule struct {
	id string // without the platform
	// means is what the rule says of a platform; "": it is none of that platform's.
	means func(*Platform) string
	// broken says how a content breaks the rule, and what to do about it; "": it does not.
	broken func(p *Platform, c Content) (message, remediation string)
}

// rules are checked in this order, which is that of the fields in a request. Only the first one that is broken is told,
// so that the same mistake always gets the same answer.
var rules = []rule{
	// What the platforms have in common.
	{
		"text.non_empty",
		func(*Platform) string { return "A post needs text, or media." },
		func(p *Platform, c Content) (string, string) {
			// A quote will do by itself: the lexicon app.bsky.feed.post takes an empty text that has an embed beside it.
			if len(c.Media) > 0 || !IsBlank(c.Text) || c.Options.QuoteURI != "" && p.Has(OptionQuote) {
				return "", ""
			}
			return "The post has neither text nor media.", "Give the post a text, or attach media."
		},
	},
	{
		"text.max_graphemes",
		func(p *Platform) string {
			return fmt.Sprintf("The text has at most %d graphemes.", p.Limits.TextGraphemes)
		},
		func(p *Platform, c Content) (string, string) {
			return tooLong(p, "text", c.Text, p.Limits.TextGraphemes, 0)
		},
	},
	{
		"text.max_bytes",
		func(p *Platform) string { return bytesMeans("text", p.Limits.TextBytes) },
		func(p *Platform, c Content) (string, string) {
			return tooManyBytes(p, "text", c.Text, p.Limits.TextBytes)
		},
	},
	{
		"media.image_video_exclusive",
		func(*Platform) string { return "A post has images or a video, not both." },
		func(p *Platform, c Content) (string, string) {
			if countOf(c, Image) == 0 || countOf(c, Video) == 0 {
				return "", ""
			}
			return p.Title + " takes images or a video in a post, not both.", "Make two posts of it."
		},
	},
	{
		"media.count_max",
		func(p *Platform) string {
			return fmt.Sprintf("A post has at most %d images, or %d video.", p.Limits.Images, p.Limits.Videos)
		},
		tooMany,
	},
	{
		"media.mime_allowed",
		func(p *Platform) string {
			images, videos := strings.Join(p.Limits.ImageTypes, ", "), strings.Join(p.Limits.VideoTypes, ", ")
			return "Images are " + images + "; videos are " + videos + "."
		},
		wrongType,
	},
	{
		"media.image_size_max",
		func(p *Platform) string { return fmt.Sprintf("An image has at most %d bytes.", p.Limits.ImageBytes) },
		func(p *Platform, c Content) (string, string) { return tooLarge(p, c, Image) },
	},
	{
		"media.video_size_max",
		func(p *Platform) string { return fmt.Sprintf("A video has at most %d bytes.", p.Limits.VideoBytes) },
		func(p *Platform, c Content) (string, string) { return tooLarge(p, c, Video) },
	},
	{
		"media.alt_text_max_graphemes",
		func(p *Platform) string {
			return fmt.Sprintf("An alternative text has at most %d graphemes.", p.Limits.AltTextGraphemes)
		},
		func(p *Platform, c Content) (string, string) {
			for i, m := range c.Media {
				message, remediation := tooLong(p, "alternative text", m.AltText, p.Limits.AltTextGraphemes, i+1)
				if message != "" {
					return message, remediation
				}
			}
			return "", ""
		},
	},
	{
		"first_comment.max_graphemes",
		func(p *Platform) string {
			return fmt.Sprintf("The first comment has at most %d graphemes.", p.Limits.FirstCommentGraphemes)
		},
		func(p *Platform, c Content) (string, string) {
			return tooLong(p, "first comment", c.FirstComment, p.Limits.FirstCommentGraphemes, 0)
		},
	},
	{
		"first_comment.max_bytes",
		func(p *Platform) string { return bytesMeans("first comment", p.Limits.FirstCommentBytes) },
		func(p *Platform, c Content) (string, string) {
			return tooManyBytes(p, "first comment", c.FirstComment, p.Limits.FirstCommentBytes)
		},
	},
	// What only some platforms understand: one rule says that the others don't, and more say how it is used by those that
	// do. An option that is ignored in silence would publish something else than its author meant.
	{
		"reply.unsupported",
		func(p *Platform) string {
			if p.Has(OptionReply) {
				return ""
			}
			return "There are no replies by URI and CID."
		},
		func(p *Platform, c Content) (string, string) {
			if o := c.Options; p.Has(OptionReply) || o.ReplyToURI+o.ReplyToCID+o.ReplyRootURI+o.ReplyRootCID == "" {
				return "", ""
			}
			return p.Title + " has no replies by URI and CID.", "Leave the reply options out."
		},
	},
	{
		"reply.parent",
		ifReplies("A reply names the post that it answers by replyToUri and replyToCid, both."),
		func(_ *Platform, c Content) (string, string) {
			if (c.Options.ReplyToURI == "") == (c.Options.ReplyToCID == "") {
				return "", ""
			}
			return "Only one of replyToUri and replyToCid is set.", "Set both, or neither."
		},
	},
	{
		"reply.root",
		ifReplies("A reply may name the first post of its thread by replyRootUri and replyRootCid, both, " +
			"beside the post that it answers."),
		func(_ *Platform, c Content) (string, string) {
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

// allRules are checked in this order.
var allRules = slices.Concat(rules, rulesOfOptions)

func (p *Platform) ruleID(r rule) string { return string(p.Name) + "." + r.id }

// Rules lists what Check checks, in its order.
func (p *Platform) Rules() []Rule {
	var list []Rule
	for _, r := range allRules {
		if means := r.means(p); means != "" {
			list = append(list, Rule{ID: p.ruleID(r), Means: means})
		}
	}
	return list
}

// Check says what the platform would refuse, or nil. Nothing is opened or asked: it runs within requests, before
// anything is stored.
func (p *Platform) Check(c Content) *Failure {
	// Also rules that are none of this platform's. They find nothing to object to: what it does not understand was refused
	// by the rule in front of them, such as reply.unsupported, and a limit of bytes that it has not got is 0.
	for _, r := range allRules {
		if message, remediation := r.broken(p, c); message != "" {
			return &Failure{
				Code:        CodePreflightFailed,
				Message:     message,
				Rule:        p.ruleID(r),
				Remediation: remediation,
			}
		}
	}
	return nil
}

// countOf counts the media of a kind.
func countOf(c Content, kind string) (n int) {
	for _, m := range c.Media {
		if m.Kind == kind {
			n++
		}
	}
	return n
}

// tooLong counts what people see as characters (UAX #29), as the platforms do. number is that of the medium whose text
// it is, from 1; 0: it is no medium's.
func tooLong(p *Platform, what, text string, most, number int) (message, remediation string) {
	if len(text) <= most { // no text has more graphemes than bytes, and counting bytes is free
		return "", ""
	}
	n := countGraphemes(text)
	if n <= most {
		return "", ""
	}
	if number > 0 {
		what = fmt.Sprintf("%s of medium %d", what, number)
	}
	return fmt.Sprintf("The %s has %d graphemes; %s takes at most %d.", what, n, p.Title, most), "Shorten it."
}

// countGraphemes counts by the extended grapheme clusters of Unicode 17. From 15.1 on, a conjunct of an Indic script is
// one (GB9c): whoever counts by an older version refuses texts of half the length that the platforms take.
func countGraphemes(text string) (n int) {
	for clusters := graphemes.FromString(text); clusters.Next(); {
		n++
	}
	return n
}

// bytesMeans is "" for most platforms: only some count bytes as well.
func bytesMeans(what string, most int) string {
	if most == 0 {
		return ""
	}
	return fmt.Sprintf("The %s has at most %d bytes of UTF-8.", what, most)
}

// tooManyBytes counts UTF-8, as the lexicons of the AT Protocol do (maxLength), beside graphemes (maxGraphemes).
func tooManyBytes(p *Platform, what, text string, most int) (message, remediation string) {
	if most == 0 || len(text) <= most {
		return "", ""
	}
	return fmt.Sprintf("The %s has %d bytes; %s takes at most %d.", what, len(text), p.Title, most),
		"Shorten it, or use simpler characters."
}

// tooMany counts each kind by itself: that they don't go together is another rule, which comes first.
func tooMany(p *Platform, c Content) (message, remediation string) {
	for _, kind := range []string{Image, Video} {
		n := countOf(c, kind)
		if most, _, _ := p.Limits.ofKind(kind); n > most {
			return fmt.Sprintf("The post has %d %ss; %s takes at most %d.", n, kind, p.Title, most), "Make several posts of it."
		}
	}
	return "", ""
}

// wrongType refuses unknown kinds too: no type is allowed of them.
func wrongType(p *Platform, c Content) (message, remediation string) {
	for i, m := range c.Media {
		if _, types, _ := p.Limits.ofKind(m.Kind); !slices.Contains(types, m.ContentType) {
			taken := strings.Join(slices.Concat(p.Limits.ImageTypes, p.Limits.VideoTypes), ", ")
			return fmt.Sprintf("Medium %d is of type %s, which %s does not take as %s.", i+1, m.ContentType, p.Title, m.Kind),
				"Convert it, or give the kind that it is: " + taken + " are taken."
		}
	}
	return "", ""
}

// tooLarge names the first medium that is, by its place in the post: its id means nothing to a person.
func tooLarge(p *Platform, c Content, kind string) (message, remediation string) {
	_, _, most := p.Limits.ofKind(kind)
	for i, m := range c.Media {
		if m.Kind == kind && m.SizeBytes > most {
			return fmt.Sprintf("Medium %d has %d bytes; %s takes %ss of at most %d.", i+1, m.SizeBytes, p.Title, kind, most),
				"Make it smaller."
		}
	}
	return "", ""
}

// ifReplies is for rules about what rule reply.unsupported refuses elsewhere.
func ifReplies(means string) func(*Platform) string { return where(OptionReply, means) }
