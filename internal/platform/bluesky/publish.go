// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Preflight checks what can be known without asking.
func (s *service) Preflight(c platform.Content) *platform.Failure {
	p := Platform
	return p.Check(c)
}

// Publish sends a post. It only ever creates the record of the post's own key.
func (s *service) Publish(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	return s.deliver(ctx, p, false)
}

// Ask looks for the record of the post's key. Where there is none it sends the post again: if the first attempt's
// record comes after all, there is one record all the same.
func (s *service) Ask(ctx context.Context, p platform.Publication, _ []byte) (platform.Outcome, error) {
	return s.deliver(ctx, p, true)
}

// delivery is one attempt. It is of one goroutine, and of no use for another attempt.
type delivery struct {
	*service
	platform.Publication
	again    bool // the post may be there
	secrets  platform.Secrets
	renewed  bool // which is tried once
	sentAt   time.Time
	warnings []platform.Warning
}

// ended carries an outcome out of the steps of a delivery.
type ended struct{ outcome platform.Outcome }

// Error makes it an error.
func (e ended) Error() string { return fmt.Sprintf("%T", e.outcome) }

// deliver is Publish and Ask, which differ in whether they look before they send. An error that is no ended is a
// mistake of ours: package publish takes the outcome for unknown.
func (s *service) deliver(ctx context.Context, p platform.Publication, again bool) (platform.Outcome, error) {
	// The same in every attempt: by its text and by this time, find knows a record that an earlier one has made.
	d := &delivery{service: s, Publication: p, again: again, sentAt: p.FirstSentAt}
	if d.sentAt.IsZero() {
		d.sentAt = s.clock.Now()
	}
	receipt, err := d.run(ctx)
	var e ended
	if errors.As(err, &e) {
		return d.told(e.outcome), nil
	}
	if err != nil {
		return nil, err
	}
	return platform.Published{Receipt: receipt}, nil
}

// run is all of an attempt. The post comes first, and decides the outcome; its comment only adds to that.
func (d *delivery) run(ctx context.Context) (r platform.Receipt, err error) {
	put := d.create
	if d.again {
		put = d.adopt
	}
	if d.secrets, err = d.Credentials.Get(ctx); err != nil {
		return r, d.afterRenewal(err)
	}
	at, err := put(ctx)
	if err != nil {
		return r, err
	}
	r = platform.Receipt{URI: at.URI, CID: at.CID}
	if d.Content.FirstComment != "" {
		comment, err := d.comment(ctx, at)
		if err != nil {
			return r, err
		}
		r.FirstCommentURI, r.FirstCommentCID = comment.URI, comment.CID
	}
	r.Warnings = d.warnings
	return r, nil
}

// adopt is create for a post that may be there. What can't be looked at is not sent either: the record may be at a
// later key than the one that create begins with.
func (d *delivery) adopt(ctx context.Context) (strongRef, error) {
	at, found, err := d.findAny(ctx, partPost, d.Content.Text, d.sentAt)
	switch {
	// A 429 says when to ask again, and nothing of the post: nobody knows any more than before.
	case judge(err) == slowDown:
		return strongRef{}, d.notTaken(d.common(err), err) // which told makes unknown
	case err != nil:
		return strongRef{}, d.unknown(err)
	case found:
		return at, nil
	}
	return d.create(ctx)
}

// create makes the record. An image that is more than the server takes is made smaller, once it has said so. What
// costs least comes first: where a mention or a parent ends the attempt, nothing was uploaded. The error is an ended,
// or a mistake of ours.
func (d *delivery) create(ctx context.Context) (strongRef, error) {
	record := post{
		Type: collection, Text: d.Content.Text, CreatedAt: createdAt(d.sentAt), Langs: d.Content.Options.Langs,
	}
	marks := marksOf(record.Text)
	var err error
	if record.Facets, err = d.facets(ctx, marks); err != nil {
		return strongRef{}, d.unseen(err)
	}
	if record.Reply, err = d.reply(ctx); err != nil {
		return strongRef{}, d.unseen(err)
	}
	for _, most := range d.sizes.of(d.secrets[FieldPDSURL]) {
		before := len(d.warnings)
		if record.Embed, err = d.embed(ctx, marks, most); err != nil {
			return strongRef{}, d.unseen(err)
		}
		at, err := d.put(ctx, partPost, record, d.sentAt)
		if err == nil {
			return at, nil
		}
		// The picture of a card is small enough for every server, so a smaller size would change nothing (maxThumb).
		// Nor can a video be made smaller.
		if !isTooLarge(err) || most == smallImage || len(d.Content.Media) == 0 ||
			d.Content.Media[0].Kind != platform.Image {
			return strongRef{}, d.notWritten(err)
		}
		// The images are made anew, so what was said of the larger ones is not true any more.
		d.warnings = d.warnings[:before]
		d.sizes.note(d.secrets[FieldPDSURL])
	}
	return strongRef{}, errors.New("no size of images was left to try")
}

// comment answers the post that was just made. The post is there: whatever is not known of the comment is asked about,
// and what is refused is told with the post.
func (d *delivery) comment(ctx context.Context, on strongRef) (strongRef, error) {
	text := d.Content.FirstComment
	when := d.sentAt.Add(time.Second) // behind the post, wherever posts are sorted
	record := post{
		Type: collection, Text: text, CreatedAt: createdAt(when), Langs: d.Content.Options.Langs,
		Reply: &reply{Root: on, Parent: on},
	}
	var err error
	if answer, e := d.reply(ctx); e == nil && answer != nil {
		record.Reply.Root = answer.Root
	} else {
		err = e
	}
	if err == nil {
		record.Facets, err = d.facets(ctx, marksOf(text))
	}
	if err == nil {
		var at strongRef
		if at, err = d.put(ctx, partComment, record, when); err == nil {
			return at, nil
		}
		err = d.notWritten(err)
	}
	var e ended
	if !errors.As(err, &e) {
		return strongRef{}, err
	}
	// An OutcomeUnknown of the comment is that of the whole: whoever asks finds the post by its key, and comes here
	// again.
	switch o := e.outcome.(type) {
	case platform.Rejected:
		d.warn(firstComment, "The post is published, and its first comment is not: "+o.Failure.Message)
		return strongRef{}, nil
	// That is certain of the comment, but would be said of the post, which is there. Whoever asks finds it, and goes on
	// with the comment.
	case platform.NotTaken:
		return strongRef{}, ended{platform.OutcomeUnknown{Failure: o.Failure, NotBefore: o.NotBefore}}
	}
	return strongRef{}, err
}

// maxTries bounds the keys that are tried for one record. It never becomes less: a post that a release of before has
// sent may be at any of them.
const maxTries = 4

// put creates a record, or finds it. The error is do's. It is putRecord that creates, told that there is none yet: of a
// key that is taken it says so (InvalidSwap), where createRecord answers 500, as if the server was out of order.
func (d *delivery) put(ctx context.Context, part string, record post, when time.Time) (at strongRef, err error) {
	for try := range maxTries {
		key := keyOf(d.PostID, part, try)
		err = d.call(ctx, call{method: putRecord, in: map[string]any{
			"repo": d.To.PlatformAccountID, "collection": collection, "rkey": key, "record": record,
			"swapRecord": nil, // none may be there
		}}, &at)
		switch {
		case err == nil && at.URI == "": // not the server itself, but something before it: nobody knows what became of it
			return at, &serverError{sent: true, cause: fmt.Errorf("the answer to %s is empty", putRecord)}
		case err == nil:
			return at, nil
		case named(err, "InvalidSwap"):
			// It may be that of an earlier attempt, which was never heard of again.
			there, isOurs, e := d.find(ctx, key, record.Text, when)
			if e != nil {
				return at, unsure{e}
			}
			if isOurs {
				return there, nil
			}
		case isBadKey(err):
		default:
			return at, err
		}
	}
	return at, err
}

// unsure wraps an error after which a record may be there, whatever the error itself says.
type unsure struct{ error }

// Unwrap gives the error.
func (u unsure) Unwrap() error { return u.error }

// isBadKey tells whether a server dislikes a key for a word in it: it looks for some, and keys are letters.
func isBadKey(err error) bool {
	var r *serverError
	return errors.As(err, &r) && strings.Contains(r.message, "slur in record key")
}

// findAny looks at every key that put may have used for a part. Where there is nothing at one, the record may be at a
// later one all the same: put goes on where the server dislikes a key, and where another record was that is gone now.
// An error says that it is not known, whatever the other keys say.
func (d *delivery) findAny(
	ctx context.Context, part, text string, when time.Time,
) (at strongRef, found bool, err error) {
	for try := range maxTries {
		if at, found, err = d.find(ctx, keyOf(d.PostID, part, try), text, when); err != nil || found {
			break
		}
	}
	return at, found, err
}

// find looks whether a key leads to the record. What it leads to may be another post, whose key is the same by chance.
func (d *delivery) find(ctx context.Context, key, text string, when time.Time) (at strongRef, found bool, err error) {
	var got struct {
		strongRef
		Value json.RawMessage `json:"value"`
	}
	// As a stranger: it is public, so it can be found out even when the account does not let us in any more.
	err = d.do(ctx, call{host: d.secrets[FieldPDSURL], method: getRecord, isRead: true, query: url.Values{
		"repo": {d.To.PlatformAccountID}, "collection": {collection}, "rkey": {key},
	}}, &got)
	if isNotThere(err) {
		return at, false, nil
	}
	if err != nil {
		return at, false, err
	}
	var there post
	// Without FirstSentAt nobody knows when it was sent, and the text has to do.
	if json.Unmarshal(got.Value, &there) == nil && there.Text == text &&
		(d.FirstSentAt.IsZero() || isAt(there.CreatedAt, when)) {
		return got.strongRef, true, nil
	}
	return at, false, nil
}

// isAt allows for what a database rounds.
func isAt(text string, when time.Time) bool {
	t, err := time.Parse(time.RFC3339, text)
	return err == nil && t.Sub(when).Abs() < time.Second
}

// isNotThere tells that there is no such record.
func isNotThere(err error) bool {
	var r *serverError
	return named(err, "RecordNotFound") ||
		errors.As(err, &r) && r.name == "InvalidRequest" && strings.Contains(r.message, "Could not locate record")
}

// call makes a call for the account, at its server. If the server does not take the token, it is renewed, once. The
// error is do's, or a notRenewed.
func (d *delivery) call(ctx context.Context, c call, out any) error {
	// All of it anew: meanwhile the account may have been connected again, in the other way or at another server.
	ask := func() (err error) {
		c.host, c.token, c.key = d.secrets[FieldPDSURL], d.secrets[platform.SecretAccessToken], nil
		if isGrant(d.secrets) {
			g, err := grantOf(d.secrets)
			if err != nil {
				return notRenewed{err}
			}
			c.key = g.key
		}
		return d.do(ctx, c, out)
	}
	err := ask()
	if judge(err) != strange || d.renewed {
		return err
	}
	d.renewed = true
	secrets, e := d.Credentials.Renew(ctx, d.secrets)
	if e != nil {
		return notRenewed{e}
	}
	d.secrets = secrets
	return ask()
}

// notRenewed wraps an error of Credentials: the call was not made.
type notRenewed struct{ error }

// Unwrap gives the error.
func (n notRenewed) Unwrap() error { return n.error }

// warn puts what is missing before what was only changed: of many warnings, the last ones are not kept. What was said
// is not said again, such as of a name that the post and its comment mention: it would take another's place.
func (d *delivery) warn(about, message string) {
	w := platform.Warning{Code: string(Name) + "." + about, Message: message}
	switch {
	case slices.Contains(d.warnings, w):
	case about == firstComment:
		d.warnings = slices.Insert(d.warnings, 0, w)
	default:
		d.warnings = append(d.warnings, w)
	}
}

// firstComment is what warnings of it are about. docs/accounts.md promises the code that it makes.
const firstComment = "first_comment"
