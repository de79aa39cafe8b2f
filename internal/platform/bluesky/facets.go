// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/clipperhouse/uax29/v2/graphemes"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// A mark is a part of a text that means something: a link, a mention or a hashtag. Texts have no markup, so what they
// mean is found here, as Bluesky's own app finds it; indigo has nothing for it.
type mark struct {
	start, end int // bytes of UTF-8, as facets count; end is the first one behind it
	kind       markKind
	value      string // a URL, a handle, or a tag without its #
}

type markKind int

const (
	link markKind = iota
	mention
	tag
)

const (
	// By app.bsky.richtext.facet#tag. A record with a longer one would be refused, so it stays text.
	maxTagGraphemes = 64
	maxTagBytes     = 640
)

// Blanks are those of JavaScript, which Bluesky's app goes by: "\s" has only those of ASCII.
const (
	blank    = `\s\v\p{Z}\x{feff}`
	notBlank = `[^` + blank + `]`
)

var (
	// A link begins a word, or stands behind an opening bracket. Without a scheme it must look like the name of a host.
	linkPattern = regexp.MustCompile(`(?i)(^|[` + blank + `(\[{<"'“‘«])` +
		`((https?://` + notBlank + `+)|([a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)+(?:[/?#]` + notBlank + `*)?))`)
	// A mention is an @ and a handle.
	mentionPattern = regexp.MustCompile(`(^|[` + blank + `(\[{<"'“‘«])(@)([a-zA-Z0-9.-]+)`)
	// A tag is a # and anything up to the next blank, or to what does not show.
	tagPattern = regexp.MustCompile(
		`(^|[` + blank + `(\[{])([#＃])([^` + blank + `\x{ad}\x{2060}\x{200a}-\x{200d}\x{20e2}]+)`)
)

// marksOf finds what a text means. Marks come in the order of the text, and do not overlap: of two facets that do,
// Bluesky's app drops one, so of two marks the first one stays.
func marksOf(text string) []mark {
	if !utf8.ValidString(text) {
		return nil // ranges in it would be anybody's guess
	}
	all := slices.Concat(linksIn(text), mentionsIn(text), tagsIn(text))
	slices.SortStableFunc(all, func(a, b mark) int { return cmp.Compare(a.start, b.start) })
	var kept []mark
	for _, m := range all {
		if len(kept) == 0 || m.start >= kept[len(kept)-1].end {
			kept = append(kept, m)
		}
	}
	return kept
}

// linksIn reads the groups of linkPattern: the second is the link as it is written, and the third is there only if
// that has a scheme.
func linksIn(text string) (links []mark) {
	for _, g := range linkPattern.FindAllStringSubmatchIndex(text, -1) {
		written := withoutTail(text[g[4]:g[5]])
		value, ok := linkValue(written, g[6] >= 0)
		if ok {
			links = append(links, mark{g[4], g[4] + len(written), link, value})
		}
	}
	return links
}

// linkValue is the URL that is meant by a link as it is written, in ASCII, which records want. False: it is none.
// Without a scheme it becomes an https one, also where the page itself is at http.
func linkValue(written string, hasScheme bool) (string, bool) {
	if !hasScheme {
		if !isDomain(hostOf(written)) {
			return "", false
		}
		written = "https://" + written
	}
	u, err := url.Parse(written)
	if err != nil || u.Hostname() == "" || u.User != nil { // a user makes one host look like another
		return "", false
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }) {
		ascii, err := idna.Lookup.ToASCII(u.Hostname())
		if err != nil {
			return "", false
		}
		u.Host = strings.Replace(u.Host, u.Hostname(), ascii, 1)
	}
	uri, err := syntax.ParseURI(u.String())
	return string(uri), err == nil
}

// withoutTail takes off what belongs to the sentence and not to the link in it: its punctuation, and a bracket that is
// not opened in the link.
func withoutTail(s string) string {
	for {
		last, size := utf8.DecodeLastRuneInString(s)
		before := s[:len(s)-size]
		switch {
		case strings.ContainsRune(`.,;:!?'"”’»…>`, last):
		case last == ')' && strings.Count(s, "(") < strings.Count(s, ")"):
		case last == ']' && strings.Count(s, "[") < strings.Count(s, "]"):
		case last == '}' && strings.Count(s, "{") < strings.Count(s, "}"):
		default:
			return s
		}
		s = before
	}
}

// hostOf is the part of a link without a scheme in front of its path.
func hostOf(s string) string {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return s[:i]
	}
	return s
}

// isDomain tells names of hosts from file names and missing blanks ("done.Next"), by the list of top-level domains.
// It needs no network: a name that is not registered may well be a link.
func isDomain(host string) bool {
	host = strings.ToLower(host)
	handle, err := syntax.ParseHandle(host) // which is a name in DNS
	if err != nil {
		return false
	}
	_, known := publicsuffix.PublicSuffix(handle.TLD())
	// Of the list's other half, which is of companies, every entry is a host of its own, such as github.io. And some
	// top-level domains are not in the list themselves: only what is below them is (*.np).
	suffix, official := publicsuffix.PublicSuffix(host)
	return (known || official) && (!official || suffix != host)
}

// mentionsIn leaves a full stop or a hyphen behind a handle to the sentence. Handles are normalized, so that one which
// is written in two ways is asked for once (facets). Whether anybody has the handle is not known yet.
func mentionsIn(text string) (mentions []mark) {
	for _, g := range mentionPattern.FindAllStringSubmatchIndex(text, -1) {
		name := strings.TrimRight(text[g[6]:g[7]], ".-")
		handle, err := syntax.ParseHandle(name)
		if err == nil && handle.AllowedTLD() {
			mentions = append(mentions, mark{g[4], g[6] + len(name), mention, string(handle.Normalize())})
		}
	}
	return mentions
}

// tagsIn leaves punctuation behind a tag to the sentence. A mark ends there, and the tag's # belongs to it.
func tagsIn(text string) (tags []mark) {
	for _, g := range tagPattern.FindAllStringSubmatchIndex(text, -1) {
		name := strings.TrimRightFunc(text[g[6]:g[7]], unicode.IsPunct)
		if isTag(name) {
			tags = append(tags, mark{g[4], g[6] + len(name), tag, name})
		}
	}
	return tags
}

// isTag refuses what is a number, an emoji that begins with a #, and what is too long to be one. The bytes are
// counted first: they bound the work of counting graphemes.
func isTag(name string) bool {
	if len(name) > maxTagBytes || strings.HasPrefix(name, "\ufe0f") || strings.HasPrefix(name, "\u20e3") {
		return false
	}
	if !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsDigit(r) && !unicode.IsPunct(r) }) {
		return false
	}
	n := 0
	for clusters := graphemes.FromString(name); clusters.Next(); {
		n++
	}
	return n <= maxTagGraphemes
}

// firstLink is what a card is made of; "": nothing. A post has one card at most.
func firstLink(marks []mark) string {
	for _, m := range marks {
		if m.kind == link {
			return m.value
		}
	}
	return ""
}
