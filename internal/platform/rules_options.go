// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"fmt"
	"regexp"
)

// rulesOfOptions are more of rules: quotes and languages. As with replies, one rule says that a platform does not know
// them.
var rulesOfOptions = []rule{
	{
		"quote.unsupported",
		unless(OptionQuote, "There are no quotes by URI and CID."),
		func(p *Platform, c Content) (string, string) {
			if p.Has(OptionQuote) || c.Options.QuoteURI+c.Options.QuoteCID == "" {
				return "", ""
			}
			return p.Title + " has no quotes by URI and CID.", "Leave the quote options out."
		},
	},
	{
		"quote.post",
		where(OptionQuote, "A quote names a post by quoteUri and quoteCid, both."),
		func(_ *Platform, c Content) (string, string) {
			if (c.Options.QuoteURI == "") == (c.Options.QuoteCID == "") {
				return "", ""
			}
			return "Only one of quoteUri and quoteCid is set.", "Set both, or neither."
		},
	},
	{
		"langs.unsupported",
		unless(OptionLangs, "Posts do not say what language they are in."),
		func(p *Platform, c Content) (string, string) {
			if p.Has(OptionLangs) || len(c.Options.Langs) == 0 {
				return "", ""
			}
			return p.Title + " is not told what language a post is in.", "Leave langs out."
		},
	},
	{
		"langs.tags",
		where(OptionLangs, fmt.Sprintf("langs are at most %d tags of BCP 47, such as en or pt-BR.", maxLangs)),
		func(_ *Platform, c Content) (string, string) {
			if n := len(c.Options.Langs); n > maxLangs {
				return fmt.Sprintf("The post has %d languages; there are at most %d.", n, maxLangs), "Name the most important."
			}
			for i, tag := range c.Options.Langs {
				if !langTag.MatchString(tag) {
					return fmt.Sprintf("Language %d is no tag of BCP 47.", i+1), "Write it as in en, pt-BR or zh-Hant."
				}
			}
			return "", ""
		},
	},
}

// maxLangs is that of the only platform that has them, Bluesky.
const maxLangs = 3

// langTag is the form of BCP 47's tags, without those that are grandfathered.
var langTag = regexp.MustCompile(`^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8}){0,8}$`)

// where is what a rule means where a platform understands an option.
func where(o Option, means string) func(*Platform) string {
	return func(p *Platform) string {
		if p.Has(o) {
			return means
		}
		return ""
	}
}

// unless is what a rule means where a platform does not.
func unless(o Option, means string) func(*Platform) string {
	return func(p *Platform) string {
		if p.Has(o) {
			return ""
		}
		return means
	}
}
