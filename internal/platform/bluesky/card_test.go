// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestDescribe(t *testing.T) {
	at, err := url.Parse("https://example.com/a/b")
	if err != nil {
		t.Fatal(err)
	}
	for page, want := range map[string]card{
		"":                                     {},
		"<title>A &amp; B</title>":             {title: "A & B"},
		"<title>\n A\t B </title><title>C":     {title: "A B"},
		`<meta property="og:title" content=A>`: {title: "A"},
		`<meta name=twitter:title content=T><meta property=og:title content=O><meta property=og:title content=P>`: {title: "O"},
		`<meta name=description content=D><title>T</title>`:                                                       {title: "T", description: "D"},
		`<meta property=og:image content=" ../c.png ">`:                                                           {picture: "https://example.com/c.png"},
		`<meta property=og:image content="//cdn.example/c.png">`:                                                  {picture: "https://cdn.example/c.png"},
		`<meta property=og:image content="data:image/png;base64,AA">`:                                             {},
		`<meta property=og:image content="file:///etc/passwd">`:                                                   {},
		`<meta property=og:title content="">` + `<title>T</title>`:                                                {title: "T"},
		`<body><meta property=og:title content=A><title>B</title>`:                                                {},
		`<!-- <title>A</title> --><script>"<title>B</title>"</script><title>C</title>`:                            {title: "C"},
		"<title>\xff</title>":                             {title: "�"},
		"<title>" + strings.Repeat("é", 200) + "</title>": {title: strings.Repeat("é", 148) + "…"},
	} {
		if diff := cmp.Diff(want, describe(strings.NewReader(page), at), cmp.AllowUnexported(card{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", page, diff)
		}
	}
}

// FuzzDescribe: whatever a page says fits into a record.
func FuzzDescribe(f *testing.F) {
	for _, seed := range []string{"", "<title>A", `<meta property="og:image" content="/x">`, "<meta content=a name=description", "\xff<body>"} {
		f.Add(seed)
	}
	at, err := url.Parse("https://example.com/a/b")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, page string) {
		c := describe(strings.NewReader(page), at)
		if len(c.title) > maxTitle || len(c.description) > maxDescription || !utf8.ValidString(c.title+c.description) {
			t.Fatalf("%q is %+v", page, c)
		}
		if c.picture != "" && !strings.HasPrefix(c.picture, "http") {
			t.Fatalf("%q has the picture %q", page, c.picture)
		}
	})
}
