// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/uuid"
)

// collection is where posts are in a repository.
const collection = "app.bsky.feed.post"

// post is a record of app.bsky.feed.post. It and the types below are by hand, as much as is used of them: indigo's
// generated ones bring CBOR and half of IPFS. They are read back, too (find, postAt), from records that anybody may
// have written.
type post struct {
	Type      string   `json:"$type"`
	Text      string   `json:"text"`
	CreatedAt string   `json:"createdAt"`
	Facets    []facet  `json:"facets,omitempty"`
	Reply     *reply   `json:"reply,omitempty"`
	Embed     any      `json:"embed,omitempty"`
	Langs     []string `json:"langs,omitempty"`
}

// facet is a part of a text, and what it means there (app.bsky.richtext.facet).
type facet struct {
	Index    byteSlice        `json:"index"`
	Features []map[string]any `json:"features"`
}

// byteSlice counts bytes of UTF-8. End is the first one behind it.
type byteSlice struct {
	Start int `json:"byteStart"`
	End   int `json:"byteEnd"`
}

// strongRef names one version of a record. The CID is a hash of what it says: of a record that was changed since, it
// is another.
type strongRef struct {
	URI string `json:"uri"`
	CID string `json:"cid"`
}

// reply is where a post is in a thread. Both are required, and are the same for an answer to the first post.
type reply struct {
	Root   strongRef `json:"root"`
	Parent strongRef `json:"parent"`
}

// blob is a file that was uploaded, as the server describes it: it goes into the record as it is.
type blob = json.RawMessage

// aspectRatio is in pixels. It may be left out; apps then can't tell how much room an image needs before they have
// it.
type aspectRatio struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

type embeddedImage struct {
	Image       blob         `json:"image"`
	Alt         string       `json:"alt"` // required, also where it is empty
	AspectRatio *aspectRatio `json:"aspectRatio,omitempty"`
}

// embedImages is app.bsky.embed.images, which every server knows. Galleries of more than four are too new for some.
func embedImages(images []embeddedImage) map[string]any {
	return map[string]any{"$type": "app.bsky.embed.images", "images": images}
}

// embedVideo leaves an empty alternative text out, which a video need not have.
func embedVideo(video blob, alt string) map[string]any {
	e := map[string]any{"$type": "app.bsky.embed.video", "video": video}
	if alt != "" {
		e["alt"] = alt
	}
	return e
}

// embedExternal makes a link card. A description is required, also an empty one, and a picture is not.
func embedExternal(c card, thumb blob) map[string]any {
	external := map[string]any{"uri": c.url, "title": c.title, "description": c.description}
	if thumb != nil {
		external["thumb"] = thumb
	}
	return map[string]any{"$type": "app.bsky.embed.external", "external": external}
}

// embedQuote puts a post beside media; nil: there are none.
func embedQuote(of strongRef, media any) map[string]any {
	quote := map[string]any{"$type": "app.bsky.embed.record", "record": of}
	if media == nil {
		return quote
	}
	return map[string]any{"$type": "app.bsky.embed.recordWithMedia", "record": quote, "media": media}
}

// createdAt is how a record has a time: in milliseconds, as Bluesky's own app.
func createdAt(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Parts of a publication that are records of their own.
const (
	partPost    = "post"
	partComment = "first comment"
)

// epoch is where keys of ids that hold no time begin.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// keyOf makes the key of a record of the id of a post: the same whenever and wherever it is asked for. It is a TID,
// which servers insist on: a time of 53 bits in microseconds, and 10 bits that tell apart what has the same time. The
// time is that of the id as far as it has one (UUIDv7, to the millisecond), and the rest comes from a hash of it.
//
// A comment's time is later than its post's, for servers list posts by their keys.
//
// What it makes of an id never changes: a post that a release of before has sent is looked for by its key.
//
// try counts from 0, for the case that a key can't be used: another record may have it, or a word in it is not liked.
func keyOf(postID, part string, try int) string {
	sum := sha256.Sum256([]byte(postID))
	hash := binary.BigEndian.Uint64(sum[:])
	micros := epoch + int64(hash>>20%(1<<45)) // some 400 days
	if id, err := uuid.Parse(postID); err == nil && id.Version() == 7 {
		millis := int64(binary.BigEndian.Uint64(append([]byte{0, 0}, id[:6]...)))
		micros = millis*1000 + int64(hash>>20%1000)
	}
	if part == partComment {
		micros += 1000
	}
	return string(syntax.NewTID(micros+int64(try), uint(hash%1024)))
}

// facetsOf makes facets of marks. Mentions of whom nobody knows (a handle that is not among dids) stay text.
func facetsOf(marks []mark, dids map[string]string) []facet {
	var facets []facet
	for _, m := range marks {
		f := facet{Index: byteSlice{m.start, m.end}}
		switch m.kind {
		case link:
			f.Features = []map[string]any{{"$type": "app.bsky.richtext.facet#link", "uri": m.value}}
		case tag:
			f.Features = []map[string]any{{"$type": "app.bsky.richtext.facet#tag", "tag": m.value}}
		case mention:
			did, ok := dids[m.value]
			if !ok {
				continue
			}
			f.Features = []map[string]any{{"$type": "app.bsky.richtext.facet#mention", "did": did}}
		}
		facets = append(facets, f)
	}
	return facets
}
