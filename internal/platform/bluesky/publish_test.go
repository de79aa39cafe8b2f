// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

func TestText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.publication(w.connect(t), platform.Content{Text: "Hello, world"})
	p.FirstSentAt = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	r := published(t, w.send(t, p))
	got := w.only(t)
	if got.Text != "Hello, world" || got.CreatedAt != "2026-01-02T03:04:05.678Z" || got.Facets != nil || got.Embed != nil {
		t.Errorf("the post is %+v", got)
	}
	if !strings.HasPrefix(r.URI, "at://"+w.account.DID+"/app.bsky.feed.post/") || r.CID == "" || len(r.Warnings) > 0 {
		t.Errorf("the receipt is %+v", r)
	}
	// Once more, as if nothing was known: it is the same post.
	if again := published(t, w.send(t, p)); again.URI != r.URI || again.CID != r.CID {
		t.Errorf("once more: %+v, and first %+v", again, r)
	}
	w.only(t)
}

// TestTakenKey: two posts whose keys are the same by chance are two records, also when they are asked about. Whoever
// asks gets the receipt that the first attempt has got: so posts here are Retraceable.
func TestTakenKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.publication(w.connect(t), platform.Content{Text: "First", FirstComment: "Its comment"})
	second := first
	second.Content = platform.Content{Text: "Second", FirstComment: "Its other comment"}
	var receipts []platform.Receipt
	for _, p := range []platform.Publication{first, second, first, second} {
		receipts = append(receipts, published(t, w.send(t, p)))
	}
	for _, p := range []platform.Publication{first, second} {
		asked, err := w.Asker.Ask(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, published(t, asked))
	}
	for i, r := range receipts {
		if want := receipts[i%2]; r.URI != want.URI || r.CID != want.CID || r.FirstCommentURI != want.FirstCommentURI {
			t.Errorf("%d: %+v, want %+v", i, r, want)
		}
	}
	if !w.Retraceable {
		t.Error("and nobody relies on it")
	}
	if n := len(w.posts(t)); n != 4 || receipts[0].URI == receipts[1].URI {
		t.Errorf("there are %d records: %+v", n, receipts)
	}
}

func TestFacets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := newWorld(t)
	text := "Héllo 👩‍👩‍👧 @" + other.account.Handle + " and @nobody.test: https://example.invalid/a_(b)?c=d#e, #Größe"
	r := w.publish(t, platform.Content{Text: text})
	want := []struct{ text, kind, value string }{
		{"@" + other.account.Handle, "mention", other.account.DID},
		{"https://example.invalid/a_(b)?c=d#e", "link", "https://example.invalid/a_(b)?c=d#e"},
		{"#Größe", "tag", "Größe"},
	}
	got := w.only(t).Facets
	if len(got) != len(want) {
		t.Fatalf("facets %+v", got)
	}
	for i, f := range got {
		feature := f.Features[0]
		if part := text[f.Index.ByteStart:f.Index.ByteEnd]; part != want[i].text || feature["$type"] != "app.bsky.richtext.facet#"+want[i].kind ||
			feature["did"]+feature["uri"]+feature["tag"] != want[i].value {
			t.Errorf("facet %q %v", part, feature)
		}
	}
	if len(r.Warnings) != 2 { // that nobody is text, and that the link has no card
		t.Errorf("warnings %+v", r.Warnings)
	}
}

func TestReplyAndFirstComment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := w.publish(t, platform.Content{Text: "Root", FirstComment: "Comment"})
	comment := w.posts(t)[0]
	if r := comment.Reply; comment.Text != "Comment" || r == nil || r.Root.URI != root.URI || r.Parent.CID != root.CID {
		t.Fatalf("the comment is %+v", comment)
	}
	answer := newWorld(t)
	r := answer.publish(t, platform.Content{
		Text: "Answer", FirstComment: "Comment on the answer",
		Options: platform.Options{Platform: "bluesky", ReplyToURI: root.FirstCommentURI, ReplyToCID: root.FirstCommentCID},
	})
	posts := answer.posts(t)
	if got := posts[1].Reply; got == nil || got.Root.URI != root.URI || got.Root.CID != root.CID || got.Parent.URI != root.FirstCommentURI {
		t.Errorf("the answer's thread is %+v", got)
	}
	if got := posts[0].Reply; got == nil || got.Root.URI != root.URI || got.Parent.URI != r.URI {
		t.Errorf("the thread of its comment is %+v", got)
	}
	o, ok := w.send(t, w.publication(w.connect(t), platform.Content{Text: "Lost", Options: platform.Options{
		Platform: "bluesky", ReplyToURI: root.URI[:len(root.URI)-13] + "3aaaaaaaaaa22", ReplyToCID: root.CID,
	}})).(platform.Rejected)
	if !ok || o.Failure.Rule != "bluesky.reply.not_found" {
		t.Errorf("an answer to nothing: %+v", o)
	}
}

func TestQuoteAndLangs(t *testing.T) {
	w := newWorld(t)
	quoted := w.publish(t, platform.Content{Text: "Quoted"})
	options := platform.Options{Platform: "bluesky", QuoteURI: quoted.URI, QuoteCID: quoted.CID, Langs: []string{"en", "pt-BR", "zh-Hant"}}
	w.publish(t, platform.Content{Options: options})
	got := w.posts(t)[0]
	if e := got.Embed; e == nil || e.Type != "app.bsky.embed.record" || e.Record.URI != quoted.URI || e.Record.CID != quoted.CID {
		t.Errorf("a quote alone: %+v", got.Embed)
	}
	if diff := cmp.Diff(options.Langs, got.Langs); diff != "" {
		t.Errorf("languages (-want +got):\n%s", diff)
	}
	w.publish(t, platform.Content{Text: "With an image", Options: options, Media: []platform.Media{image(t, 8, 8)}})
	records, err := w.account.Posts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var both struct {
		Embed struct {
			Type   string `json:"$type"`
			Record struct{ Record struct{ URI string } }
			Media  struct{ Images []any }
		}
	}
	if err := json.Unmarshal(records[0].Value, &both); err != nil {
		t.Fatal(err)
	}
	if e := both.Embed; e.Type != "app.bsky.embed.recordWithMedia" || e.Record.Record.URI != quoted.URI || len(e.Media.Images) != 1 {
		t.Errorf("a quote with an image: %+v", e)
	}
}

// TestGraphemes: what the server takes is not refused here, and what is refused here it would not take.
func TestGraphemes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.connect(t)
	for name, unit := range map[string]string{
		"Latin": "a", "Hindi conjunct": "क्ष", "Hindi with a vowel": "नि", "Bengali conjunct": "ক্ষ", "Tamil": "நி",
		"family": "👩‍👩‍👧", "skin": "👍🏽", "flag": "🇩🇪", "keycap": "1️⃣", "combining": "e\u0301", "Hangul": "각", "jamo": "\u1100\u1161\u11a8",
		"Thai": "กำ", "Zalgo": "Z\u0351\u036b\u0343", "heart": "❤️", "new emoji": "🫩",
	} {
		for _, n := range []int{300, 301} {
			many := min(n, 2500/len(unit)) // no more than fit into 3,000 bytes beside the rest
			content := platform.Content{Text: strings.Repeat(unit, many) + strings.Repeat("x", n-many)}
			refused := w.Publisher.Preflight(content) != nil
			o, err := w.Publisher.Publish(t.Context(), w.publication(c, content))
			if err != nil {
				t.Fatal(err)
			}
			_, taken := o.(platform.Published)
			if refused == taken || taken != (n == 300) {
				t.Errorf("%d of %s: refused here %v, taken by the server %v: %+v", n, name, refused, taken, o)
			}
		}
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o, err := w.Publisher.Publish(t.Context(), w.publication(w.connect(t), platform.Content{Text: strings.Repeat("x", 301)}))
	r, ok := o.(platform.Rejected)
	if err != nil || !ok || r.Failure.Code != platform.CodeRejected || r.Failure.PlatformResponse == nil {
		t.Fatalf("outcome %+v, error %v", o, err)
	}
	contains(t, "message", r.Failure.Message, "Bluesky rejected the post: ")
}
