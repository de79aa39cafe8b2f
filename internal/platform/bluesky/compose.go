// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	lru "github.com/hashicorp/golang-lru/v2/expirable"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Sizes of images of a post, in bytes: servers take the larger one since April 2026. Which one a server takes, only it
// can say.
const (
	largeImage int64 = 2_000_000
	smallImage int64 = 1_000_000
)

// sizes remembers which servers take small images only: otherwise each post with a large one would be uploaded twice
// there. The zero value is ready for use.
type sizes struct {
	once  sync.Once
	small *lru.LRU[string, struct{}]
}

// servers makes the list when it is first asked for. It has a lock of its own.
func (s *sizes) servers() *lru.LRU[string, struct{}] {
	// A day: servers are updated. It is bounded, because whoever connects an account can name any server.
	s.once.Do(func() { s.small = lru.NewLRU[string, struct{}](10_000, nil, 24*time.Hour) })
	return s.small
}

// of is what to try with a server, in this order.
func (s *sizes) of(host string) []int64 {
	if s.servers().Contains(host) {
		return []int64{smallImage}
	}
	return []int64{largeImage, smallImage}
}

// note that a server did not take a large one.
func (s *sizes) note(host string) { s.servers().Add(host, struct{}{}) }

// isTooLarge tells whether a record was refused for the size of an image.
func isTooLarge(err error) bool {
	var r *serverError
	if named(err, "BlobTooLarge") {
		return true
	}
	// Older servers check records by their lexicons, and name nothing but the place. These are words, which may change:
	// TestLargeImage sends one to a real server of that kind, and the newest is asked by TestNewestServer.
	return errors.As(err, &r) && r.name == "InvalidRequest" &&
		(strings.Contains(r.message, "too large") || strings.Contains(r.message, "too big")) &&
		(strings.Contains(r.message, "image") || strings.Contains(r.message, "blob") || strings.Contains(r.message, "file"))
}

// facets resolves mentions at the account's own server, which knows its own accounts and asks the network for others.
// It is asked as by a stranger, since this is public: whatever it refuses is about who is mentioned, and not about the
// account. A mention of whom nobody knows is no reason to keep a post back, while one that could not be looked up is:
// the post would go out without it, and can't be mended afterwards. The error is an ended.
func (d *delivery) facets(ctx context.Context, marks []mark) ([]facet, error) {
	dids, asked := map[string]string{}, map[string]bool{}
	for _, m := range marks {
		if m.kind != mention || asked[m.value] {
			continue
		}
		asked[m.value] = true
		var found struct {
			DID string `json:"did"`
		}
		err := d.do(ctx, call{
			host: d.secrets[FieldPDSURL], method: resolveHandle, isRead: true, query: url.Values{"handle": {m.value}},
		}, &found)
		// What stands in the record is checked, since a server may answer anything.
		if did, e := syntax.ParseDID(found.DID); err == nil && e == nil {
			dids[m.value] = string(did)
			continue
		}
		// The account's own server is away, or has had enough: then the post does not go out either.
		if v := judge(err); v == slowDown || v == away && !answered(err) {
			return nil, d.before(err)
		}
		d.warn("mention", "@"+m.value+" was not found, and is text in the post.")
	}
	return facetsOf(marks, dids), nil
}

// answered tells whether a server said anything. Of a server that asks others on our behalf, an error that it answers
// with may be theirs, also one of its own (UpstreamFailure, HandleResolutionFailed); one that does not answer is away
// itself.
func answered(err error) bool {
	var r *serverError
	return errors.As(err, &r) && r.status > 0
}

// reply finds the thread that a post belongs to: nil for one that answers nothing. A reply names the first post of
// its thread beside its parent, and only the parent's own record says which that is. A parent that answers nothing is
// the first one. The error is an ended.
func (d *delivery) reply(ctx context.Context) (*reply, error) {
	o := d.Content.Options
	if o.ReplyToURI == "" {
		return nil, nil
	}
	parent := strongRef{o.ReplyToURI, o.ReplyToCID}
	if o.ReplyRootURI != "" {
		return &reply{Root: strongRef{o.ReplyRootURI, o.ReplyRootCID}, Parent: parent}, nil
	}
	there, err := d.postAt(ctx, o.ReplyToURI)
	if err != nil {
		return nil, err
	}
	if there.Reply != nil {
		return &reply{Root: there.Reply.Root, Parent: parent}, nil
	}
	return &reply{Root: parent, Parent: parent}, nil
}

// postAt reads a post of anybody: by the account's own server, which may ask the network, and else from where it is.
// Both are asked as by a stranger: what they refuse is about that post and its author, who may have been taken down,
// and never means that the account is to be connected again. The error is an ended.
func (d *delivery) postAt(ctx context.Context, text string) (there post, err error) {
	uri, err := syntax.ParseATURI(text)
	if err != nil {
		return there, noParent("was not found")
	}
	read := call{host: d.secrets[FieldPDSURL], method: getRecord, isRead: true, query: url.Values{
		"repo": {uri.Authority().String()}, "collection": {uri.Collection().String()}, "rkey": {uri.RecordKey().String()},
	}}
	var got struct {
		Value json.RawMessage `json:"value"`
	}
	err = d.do(ctx, read, &got)
	switch v := judge(err); {
	case v == slowDown, v == away && !answered(err): // then the post does not go out either
		return there, d.before(err)
	case err != nil:
		if err = d.readElsewhere(ctx, uri, read, &got); err != nil {
			return there, d.parentNotRead(err)
		}
	}
	if json.Unmarshal(got.Value, &there) != nil {
		return there, noParent("was not found")
	}
	return there, nil
}

// noParent is the outcome of an answer to what can't be answered. It is for good: nothing that is tried later makes
// such a parent appear.
func noParent(why string) error {
	return rejected(&platform.Failure{
		Code: platform.CodeRejected, Rule: ruleReply,
		Message:     "The post that is to be answered " + why + ".",
		Remediation: "Look whether it is still there, and whether replyToUri is right.",
	})
}

// parentNotRead is the outcome of an answer to a post that another server is asked for. A server that is away may be
// back, so the post waits for that; what is no parent stays none.
func (d *delivery) parentNotRead(err error) error {
	switch v := judge(err); {
	case errors.Is(err, errNobody), v == saysNo, v == strange:
		return noParent("was not found")
	// Its author's own server, which would not have to ask another one if it had the post.
	case named(err, "UpstreamFailure", "UpstreamTimeout"):
		return noParent("was not found")
	case guardRefused(err), errors.As(err, new(errHost)):
		return noParent("is on a server that can't be asked, because its address is not a public one")
	}
	return d.notTaken(&platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleReplyUnread,
		Message:     "The post that is to be answered could not be read: its server did not answer.",
		Remediation: "Try again later. With replyRootUri and replyRootCid, it need not be read.",
	}, err)
}

// readElsewhere reads a record where its author's account is: the server of the account that posts need not have it.
// That address is a stranger's choice. It goes through the guard as any other, and read has no token in it.
func (d *delivery) readElsewhere(ctx context.Context, uri syntax.ATURI, read call, out any) error {
	who, err := parseIdentifier(uri.Authority().String())
	if err != nil {
		return errNobody
	}
	did, err := d.didOf(ctx, who)
	if err != nil {
		return err
	}
	if read.host, _, err = d.pdsOf(ctx, did); err != nil {
		return err
	}
	return d.do(ctx, read, out)
}

// embed is what a post has beside its text: media, and a post that it quotes. most is how many bytes an image may
// have. Nil: the post has text alone. It has to be a nil any, since embedQuote and the record's omitempty look at
// nothing but that.
func (d *delivery) embed(ctx context.Context, marks []mark, most int64) (any, error) {
	media, err := d.mediaOf(ctx, marks, most)
	o := d.Content.Options
	if err != nil || o.QuoteURI == "" {
		return media, err
	}
	return embedQuote(strongRef{o.QuoteURI, o.QuoteCID}, media), nil
}

// mediaOf is the images of a post, its video, or a card of its first link. Preflight has refused images beside a
// video.
func (d *delivery) mediaOf(ctx context.Context, marks []mark, most int64) (any, error) {
	media := d.Content.Media
	switch {
	case len(media) > 0 && media[0].Kind == platform.Video:
		video, err := d.upload(ctx, &file{open: media[0].Open, size: media[0].SizeBytes, contentType: media[0].ContentType})
		if err != nil {
			return nil, d.before(err)
		}
		return embedVideo(video, media[0].AltText), nil
	case len(media) > 0:
		return d.images(ctx, media, most)
	}
	if address := firstLink(marks); address != "" {
		return d.card(ctx, address)
	}
	return nil, nil
}

// images uploads them one after the other, and ends with the first that can't be: nobody means a post with some of its
// images. In turn, because then one of them is in memory at a time.
func (d *delivery) images(ctx context.Context, media []platform.Media, most int64) (any, error) {
	var images []embeddedImage
	for i, m := range media {
		p, err := fit(ctx, original{open: m.Open, size: m.SizeBytes, contentType: m.ContentType}, most)
		var bad errImage
		switch {
		case errors.As(err, &bad):
			return nil, rejected(&platform.Failure{
				Code: platform.CodeRejected, Rule: ruleImage,
				Message:     fmt.Sprintf("Image %d has %d bytes; Bluesky takes at most %d, and %s.", i+1, m.SizeBytes, most, bad),
				Remediation: "Make it smaller.",
			})
		case ctx.Err() != nil:
			return nil, d.before(&serverError{cause: ctx.Err()})
		case err != nil:
			return nil, d.oursToMend(err)
		}
		if p.change != "" {
			d.warn("image.reencoded", fmt.Sprintf("Image %d %s. Bluesky takes at most %d bytes.", i+1, p.change, most))
		}
		uploaded, err := d.upload(ctx, p.file)
		if err != nil {
			return nil, d.before(err)
		}
		images = append(images, embeddedImage{Image: uploaded, Alt: m.AltText, AspectRatio: p.ratio})
	}
	return embedImages(images), nil
}

// upload sends a file to the account's server, which deletes it again if no record refers to it soon. So what was
// uploaded is of use to the same attempt alone, and each attempt uploads anew. The error is call's.
func (d *delivery) upload(ctx context.Context, f *file) (blob, error) {
	var got struct {
		Blob blob `json:"blob"`
	}
	err := d.call(ctx, call{method: uploadBlob, file: f}, &got)
	if err == nil && len(got.Blob) == 0 {
		err = &serverError{cause: errors.New("the answer to an upload holds no blob")}
	}
	return got.Blob, err
}

// card makes a link card. Whatever goes wrong with it, the post goes out: without the picture, or without the card.
func (d *delivery) card(ctx context.Context, address string) (any, error) {
	c, err := d.fetchCard(ctx, address)
	// A page has less time than an attempt (pageTime). If that of the attempt is over, it was not the page's doing alone,
	// and the post waits: without a card it could not go out any more either.
	if ctx.Err() != nil {
		return nil, d.before(&serverError{cause: ctx.Err()})
	}
	if err != nil {
		d.warn("card.skipped", "The link has no card: its page could not be read, or does not say what it is.")
		return nil, nil
	}
	if c.picture == "" {
		return embedExternal(c, nil), nil
	}
	p, err := d.fetchThumb(ctx, c.picture)
	var thumb blob
	if err == nil {
		thumb, err = d.upload(ctx, p.file)
	}
	if err != nil {
		d.warn("card.picture_skipped", "The link's card has no picture: it could not be read, or is too large.")
	}
	return embedExternal(c, thumb), nil
}
