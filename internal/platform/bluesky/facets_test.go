// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// found is a mark as people would write it down.
type found struct {
	text  string // of the text
	kind  markKind
	value string
}

func TestMarks(t *testing.T) {
	long := strings.Repeat("x", 64)
	for text, want := range map[string][]found{
		"":                                       nil,
		"plain":                                  nil,
		"https://a.com":                          {{"https://a.com", link, "https://a.com"}},
		"see https://a.com.":                     {{"https://a.com", link, "https://a.com"}},
		"see (https://a.com/b_(c)),":             {{"https://a.com/b_(c)", link, "https://a.com/b_(c)"}},
		"\"https://a.com/x?y=1&z=2\"":            {{"https://a.com/x?y=1&z=2", link, "https://a.com/x?y=1&z=2"}},
		"HTTPS://A.com/B":                        {{"HTTPS://A.com/B", link, "https://A.com/B"}},
		"https://a.com/ü":                        {{"https://a.com/ü", link, "https://a.com/%C3%BC"}},
		"https://müller.de":                      {{"https://müller.de", link, "https://xn--mller-kva.de"}},
		"a.com and b.org/c!":                     {{"a.com", link, "https://a.com"}, {"b.org/c", link, "https://b.org/c"}},
		"main.go, done.Then, v1.2.3":             nil,
		"co.uk":                                  nil,
		"Voir https://a.fr/page\u00a0!":          {{"https://a.fr/page", link, "https://a.fr/page"}},
		"\u3000a.com\u3000@b.com\u2028#c\ufeffd": {{"a.com", link, "https://a.com"}, {"@b.com", mention, "b.com"}, {"#c", tag, "c"}},
		"a.github.io, github.io":                 {{"a.github.io", link, "https://a.github.io"}, {"github.io", link, "https://github.io"}},
		"shop.com.np, com.np, www.ck":            {{"shop.com.np", link, "https://shop.com.np"}, {"www.ck", link, "https://www.ck"}},
		"1.2.3.4":                                nil,
		"https://":                               nil,
		"https://user@a.com":                     nil,
		"javascript:alert(1)":                    nil,
		"https://a.com#b @c.com":                 {{"https://a.com#b", link, "https://a.com#b"}, {"@c.com", mention, "c.com"}},
		"@alice.test.":                           {{"@alice.test", mention, "alice.test"}},
		"(@Alice.Test)":                          {{"@Alice.Test", mention, "alice.test"}},
		"@alice":                                 nil,
		"me@alice.test":                          nil,
		"@alice.local @":                         nil,
		"@a.com@b.com":                           {{"@a.com", mention, "a.com"}},
		"👩‍👩‍👧 @a.com":                           {{"@a.com", mention, "a.com"}},
		"#go #Go! #1 #1a ＃full":                  {{"#go", tag, "go"}, {"#Go", tag, "Go"}, {"#1a", tag, "1a"}, {"＃full", tag, "full"}},
		"#️⃣ # ## #!":                            nil,
		"a#b":                                    nil,
		"#a#b":                                   {{"#a#b", tag, "a#b"}},
		"#Größe, #日本語。":                          {{"#Größe", tag, "Größe"}, {"#日本語", tag, "日本語"}},
		"#" + long:                               {{"#" + long, tag, long}},
		"#" + long + "x":                         nil,
		"#a\u200bb":                              {{"#a", tag, "a"}},
		"\n#a\n@b.com\nc.com":                    {{"#a", tag, "a"}, {"@b.com", mention, "b.com"}, {"c.com", link, "https://c.com"}},
		"#a.com https://b.com#c":                 {{"#a.com", tag, "a.com"}, {"https://b.com#c", link, "https://b.com#c"}},
		"\xff https://a.com":                     nil,
	} {
		var got []found
		for _, m := range marksOf(text) {
			got = append(got, found{text[m.start:m.end], m.kind, m.value})
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(found{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// FuzzMarks: ranges are within the text, at the edges of characters, in order, and apart.
func FuzzMarks(f *testing.F) {
	for _, seed := range []string{"", "a.com @b.com #c", "(https://a.com/(b))", "#️⃣👩‍👩‍👧@a.com", "\xff#a", "https://\u202ea.com"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		end := 0
		for _, m := range marksOf(text) {
			if m.start < end || m.end <= m.start || m.end > len(text) {
				t.Fatalf("%q has %+v behind %d", text, m, end)
			}
			if end = m.end; !utf8.ValidString(text[m.start:m.end]) || m.value == "" {
				t.Fatalf("%q has %+v", text, m)
			}
			if m.kind == link && !strings.HasPrefix(m.value, "http") {
				t.Fatalf("%q leads to %q", text, m.value)
			}
		}
	})
}
