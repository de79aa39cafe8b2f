// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
)

const (
	// maxPage is how much of a page is read: what describes it stands at its beginning.
	maxPage = 512 << 10
	// maxPicture is the largest picture that is fetched. It is made smaller then.
	maxPicture = 10 << 20
	// maxTitle and maxDescription keep a page from filling the record, whose text is what matters, in bytes.
	maxTitle       = 300
	maxDescription = 1000
)

// card is what a link leads to. Nobody but who posts looks: neither a server nor a reader's app does.
type card struct {
	url, title, description string
	picture                 string // URL; "": none
}

// errNoCard says that a page has nothing to make a card of.
var errNoCard = errors.New("the page does not say what it is")

// fetchCard reads the page that a link leads to, within its bounds.
func (s *service) fetchCard(ctx context.Context, link string) (card, error) {
	resp, err := fetch(ctx, s.pages, link, "text/html,application/xhtml+xml;q=0.9")
	if err != nil {
		return card{}, err
	}
	defer resp.Body.Close()
	// A link may lead to a file of any kind and size, of which nothing is read.
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "text/html" && kind != "application/xhtml+xml" {
		return card{}, fmt.Errorf("%w: it is of type %q", errNoCard, kind)
	}
	page, err := io.ReadAll(resp.Body)
	// A page that goes on after maxPage is read as far as that, and is no error.
	if err != nil && !errors.As(err, new(*http.MaxBytesError)) {
		return card{}, err
	}
	decoded, err := charset.NewReader(bytes.NewReader(page), resp.Header.Get("Content-Type"))
	if err != nil {
		return card{}, err
	}
	c := describe(decoded, resp.Request.URL)
	if c.title == "" {
		return card{}, errNoCard
	}
	// Where the text leads, and not where a redirect has led from there: a card stands for the link beside it.
	c.url = link
	return c, nil
}

// fetch asks for an address that stands in a post, or on the page of one: anything may stand there, of any scheme.
// The client keeps it from private addresses. Without an error, the body is to be closed.
func fetch(ctx context.Context, by *http.Client, address, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return nil, fmt.Errorf("a URL of scheme %q is not fetched", req.URL.Scheme)
	}
	req.Header.Set("Accept", accept)
	resp, err := by.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // nothing was read
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp, nil
}

// describe reads what a page says of itself: in the Open Graph protocol, in that of Twitter's cards, or plainly. at is
// where the page is. What is broken is read as far as it goes. It goes from one token to the next and builds no tree:
// what a stranger has written takes no more memory than what is found in it.
func describe(page io.Reader, at *url.URL) card {
	found := map[string]string{}
	title := ""
	for tokens := html.NewTokenizer(page); ; {
		switch tokens.Next() {
		case html.ErrorToken:
			return cardOf(found, title, at)
		case html.StartTagToken, html.SelfClosingTagToken:
			switch t := tokens.Token(); t.DataAtom {
			case atom.Meta:
				noteMeta(t, found)
			case atom.Title:
				if title == "" && tokens.Next() == html.TextToken {
					title = string(tokens.Text())
				}
			case atom.Body:
				// What comes now is the page itself, where anybody may have written.
				return cardOf(found, title, at)
			}
		}
	}
}

// noteMeta keeps the first of each kind.
func noteMeta(t html.Token, found map[string]string) {
	var name, content string
	for _, a := range t.Attr {
		switch a.Key {
		case "property", "name":
			name = strings.ToLower(a.Val)
		case "content":
			content = a.Val
		}
	}
	if _, seen := found[name]; !seen && strings.TrimSpace(content) != "" {
		found[name] = content
	}
}

// cardOf takes Open Graph's names first, which most pages have, and what else there is in their place. A picture may be
// given as a path; it is the page's that it is below.
func cardOf(found map[string]string, title string, at *url.URL) card {
	first := func(names ...string) string {
		for _, n := range names {
			if found[n] != "" {
				return found[n]
			}
		}
		return ""
	}
	c := card{
		title:       oneLine(first("og:title", "twitter:title"), maxTitle),
		description: oneLine(first("og:description", "twitter:description", "description"), maxDescription),
	}
	if c.title == "" {
		c.title = oneLine(title, maxTitle)
	}
	// Whatever stands there: other schemes, such as data, are no addresses to fetch.
	if picture := first("og:image:secure_url", "og:image", "og:image:url", "twitter:image"); picture != "" {
		if u, err := at.Parse(strings.TrimSpace(picture)); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
			c.picture = u.String()
		}
	}
	return c
}

// oneLine makes one line of a text, of at most so many bytes of valid UTF-8. It is never cut within a
// character.
func oneLine(text string, most int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "�")), " ")
	if len(text) <= most {
		return text
	}
	return strings.TrimSpace(strings.ToValidUTF8(text[:most-len("…")], "")) + "…"
}

// fetchThumb fetches a card's picture, as large as a server takes it. The error is no reason to keep the card back,
// let alone the post.
func (s *service) fetchThumb(ctx context.Context, address string) (picture, error) {
	resp, err := fetch(ctx, s.pictures, address, "image/jpeg,image/png,image/webp,image/gif;q=0.5")
	if err != nil {
		return picture{}, err
	}
	defer resp.Body.Close()
	bytes, err := io.ReadAll(resp.Body)
	if err != nil {
		return picture{}, err
	}
	// Without a type, so that the bytes tell it: what the page's server says of them may be anything, and what is no
	// picture is not uploaded as one.
	return fit(ctx, original{open: openBytes(bytes), size: int64(len(bytes))}, maxThumb)
}
