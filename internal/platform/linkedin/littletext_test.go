// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"slices"
	"testing"

	played "github.com/letmepost/letmepost-operator/test/linkedin"
)

// TestEscape: each reserved character, alone, and in texts that people write.
func TestEscape(t *testing.T) {
	for _, c := range played.Reserved {
		if got := escape("a" + string(c) + "b"); got != `a\`+string(c)+"b" && c != '#' {
			t.Errorf("%q becomes %q", c, got)
		}
	}
	for _, tc := range []struct {
		text, want string
		tags       []string
	}{
		{"", "", nil},
		{"plain, with 'marks' & more: $5 + 10 % = ?!", "plain, with 'marks' & more: $5 + 10 % = ?!", nil},
		{`a\b`, `a\\b`, nil},
		{`\#`, `\\\#`, nil},
		{"(see https://example.com/a_b?c={d})", `\(see https://example.com/a\_b?c=\{d\}\)`, nil},
		{"#go rocks", `{hashtag|\#|go} rocks`, []string{"go"}},
		{
			"#München #日本 #देवनागरी", `{hashtag|\#|München} {hashtag|\#|日本} {hashtag|\#|देवनागरी}`,
			[]string{"München", "日本", "देवनागरी"},
		},
		{"we are #1", `we are \#1`, nil},
		{"C# or a#b", `C\# or a\#b`, nil},
		{"##twice", `\#{hashtag|\#|twice}`, []string{"twice"}},
		{"#a_b", `{hashtag|\#|a}\_b`, []string{"a"}},
		{"{hashtag|\\#|x}", `\{hashtag\|\\\#\|x\}`, nil},
		{"me@example.com", `me\@example.com`, nil},
	} {
		got := escape(tc.text)
		if got != tc.want {
			t.Errorf("%q becomes %q", tc.text, got)
		}
		if text, tags := played.Read(got); text != tc.text || !slices.Equal(tags, tc.tags) {
			t.Errorf("%q is read as %q, with tags %q", tc.text, text, tags)
		}
	}
}

// FuzzEscape: whoever reads the post sees exactly the text.
func FuzzEscape(f *testing.F) {
	for _, text := range []string{played.Reserved, `\\#a#`, "#é̂x", "{hashtag|\\#|a}", "\xff#\xfea"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, _ := played.Read(escape(text)); got != text {
			t.Errorf("%q is read as %q", text, got)
		}
	})
}
