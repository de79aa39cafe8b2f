// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"sync"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Preflight checks what can be known without asking. A text is counted as it was written, before it is escaped.
func (s *service) Preflight(c platform.Content) *platform.Failure {
	if f := Platform.Check(c); f != nil {
		return f
	}
	// The limits say what LinkedIn takes, and it takes videos: that this server can't send them yet is said apart.
	for _, m := range c.Media {
		if m.Kind == platform.Video {
			return &platform.Failure{
				Code: platform.CodePreflightFailed, Rule: ruleVideo,
				Message:     "This server does not publish videos to LinkedIn yet.",
				Remediation: "Publish the post with images, or without media.",
			}
		}
	}
	return nil
}

// memory is what a second look has to know of the attempt before, and is stored in between. It holds no secret. Its
// fields keep their names: a token of the release before is read after an upgrade.
type memory struct {
	Images []string `json:"images,omitempty"` // URNs of what was uploaded
	// Told: the attempt lived to say that it knows nothing of the post, and so had not come to its comment. Else its
	// process died, and nobody knows how far it was.
	Told bool `json:"told"`
}

// delivery is one attempt. Its images are uploaded and looked at side by side; all else is of one goroutine.
type delivery struct {
	*service
	platform.Publication
	memory
	again    bool // it looks after an earlier attempt
	warnings []platform.Warning

	mu      sync.Mutex // for uploads, which run side by side
	secrets platform.Secrets
	renewed bool // which is tried once
}

// Publish sends a post.
func (s *service) Publish(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	// Whatever token this attempt ends with, it has lived to say it. What Remember stores on the way says the opposite.
	d := &delivery{service: s, Publication: p, memory: memory{Told: true}}
	return d.outcome(d.deliver(ctx))
}

// Ask sends the post again, the very same: if it is there, LinkedIn refuses it as a duplicate, and names the post.
func (s *service) Ask(ctx context.Context, p platform.Publication, token []byte) (platform.Outcome, error) {
	d := &delivery{service: s, Publication: p, again: true}
	// It died before it could say anything: Told is false then.
	if json.Unmarshal(token, &d.memory) != nil { // there is none
		d.memory = memory{}
	}
	o, err := d.outcome(d.deliver(ctx))
	if err != nil {
		return nil, err
	}
	return d.stillUnknown(o), nil
}

// outcome takes an ended apart. Any other error is a mistake of ours, or the end of the attempt: package publish
// takes the outcome for unknown.
func (d *delivery) outcome(r platform.Receipt, err error) (platform.Outcome, error) {
	var e ended
	switch {
	case errors.As(err, &e):
		return e.outcome, nil
	case err != nil:
		return nil, err
	}
	return platform.Published{Receipt: r}, nil
}

// deliver is all of an attempt. What is uploaded is stored before the post is sent, and not after: a process that
// dies between the two leaves what the next one needs.
func (d *delivery) deliver(ctx context.Context) (r platform.Receipt, err error) {
	d.watchSunset()
	if d.secrets, err = d.Credentials.Get(ctx); err != nil {
		return r, d.notSent(err)
	}
	// A second look goes on with what the first attempt has uploaded: whether LinkedIn takes a post with other uploads of
	// the same images for the same post is not documented.
	if len(d.Content.Media) > 0 && len(d.Images) != len(d.Content.Media) {
		urns, err := d.upload(ctx)
		if err != nil {
			return r, d.notUploaded(err)
		}
		d.Images = urns
		// As of a process that has died: what it has come to after this, it has not lived to say.
		if err := d.Remember(ctx, memory{Images: urns}.token()); err != nil {
			return r, err
		}
	}
	urn, adopted, err := d.write(ctx)
	if err != nil {
		return r, err
	}
	r.URI = urn
	if d.Content.FirstComment != "" {
		r.FirstCommentURI = d.comment(ctx, urn, adopted)
	}
	r.Warnings = d.warnings
	return r, nil
}

// share is a post, as LinkedIn takes it.
type share struct {
	Author         string       `json:"author"`
	Commentary     string       `json:"commentary"` // little text
	Visibility     string       `json:"visibility"`
	Distribution   distribution `json:"distribution"`
	Content        any          `json:"content,omitempty"`
	LifecycleState string       `json:"lifecycleState"`
	NoReshare      bool         `json:"isReshareDisabledByAuthor"`
}

// distribution is to whom a post is shown. The lists are empty, not null, as in LinkedIn's own examples.
type distribution struct {
	Feed     string   `json:"feedDistribution"`
	Entities []string `json:"targetEntities"`
	Channels []string `json:"thirdPartyDistributionChannels"`
}

type image struct {
	ID      string `json:"id"`
	AltText string `json:"altText,omitempty"` // plain text
}

// content is what a post has beside its text; nil: nothing. One image is a medium of its own, as LinkedIn's multiImage
// begins at two.
func (d *delivery) content() any {
	images := make([]image, len(d.Images))
	// There are as many of them as media, and in their order: deliver uploads all anew where the number differs.
	for i, urn := range d.Images {
		images[i] = image{urn, d.Content.Media[i].AltText}
	}
	switch len(images) {
	case 0:
		return nil
	case 1:
		return map[string]any{"media": images[0]}
	}
	return map[string]any{"multiImage": map[string]any{"images": images}}
}

// write sends the post, and returns its URN. adopted: an earlier attempt has written it.
//
// On a second look a duplicate is the answer that was hoped for. Its URN may be missing, and the post is there all
// the same.
func (d *delivery) write(ctx context.Context) (urn string, adopted bool, err error) {
	header, err := d.call(ctx, call{path: "/rest/posts", in: share{
		Author: d.To.PlatformAccountID, Commentary: escape(d.Content.Text), Visibility: "PUBLIC",
		Distribution:   distribution{Feed: "MAIN_FEED", Entities: []string{}, Channels: []string{}},
		LifecycleState: "PUBLISHED", Content: d.content(),
	}}, nil)
	if judge(err) == duplicate && d.again {
		var r *serverError
		errors.As(err, &r)
		d.warn("adopted", "LinkedIn's answer to the first attempt was lost. It says now that it has this post, so it went "+
			"out then.")
		return r.duplicateOf, true, nil
	}
	if err != nil {
		return "", false, d.notWritten(err)
	}
	if urn = header.Get("X-Restli-Id"); urn == "" { // it is there, and sending it again tells its name
		cause := errors.New("LinkedIn did not say what the post's id is")
		return "", false, d.notWritten(&serverError{sent: true, cause: cause})
	}
	return urn, false, nil
}

// urnOfPost is of a post alone: the same message may name the member by a URN (urn:li:person).
var urnOfPost = regexp.MustCompile(`urn:li:(?:share|ugcPost):[0-9]+`)

// comment comments on the post that was just made. The post is there: what becomes of its comment changes nothing of
// that, and it is not tried again, since LinkedIn takes the same comment twice. A second look makes it up if the
// attempt before said that it had not come so far; only if such a look is killed in turn, it may be there twice.
func (d *delivery) comment(ctx context.Context, on string, adopted bool) string {
	if adopted && !d.Told {
		d.warn("first_comment", "The post is published. Whether its first comment is there is not known: this server "+
			"stopped meanwhile, and did not send it again.")
		return ""
	}
	if on == "" { // it is to be told what it is a comment on
		d.warn("first_comment", "The post is published, and its first comment is not: LinkedIn did not say which post it is.")
		return ""
	}
	var made struct {
		URN string `json:"commentUrn"`
	}
	path := "/rest/socialActions/" + url.QueryEscape(on) + "/comments"
	// The text is not escaped: a comment is plain text, and its readers would see the backslashes.
	header, err := d.call(ctx, call{path: path, in: map[string]any{
		"actor": d.To.PlatformAccountID, "object": on, "message": map[string]string{"text": d.Content.FirstComment},
	}}, &made)
	var r *serverError
	switch {
	case err == nil && made.URN == "":
		return header.Get("X-Restli-Id")
	case err == nil:
		return made.URN
	case errors.As(err, &r) && judge(err) == away && r.sent:
		d.warn("first_comment", "The post is published. LinkedIn did not say whether it took the first comment.")
	case errors.As(err, &r):
		if r.code != codeDuplicate { // a refusal may name the post that it is a comment on, which is no duplicate
			r.duplicateOf = ""
		}
		d.warn("first_comment", "The post is published, and its first comment is not: "+d.common(err).Message)
	default:
		d.warn("first_comment", "The post is published, and its first comment is not.")
	}
	return ""
}

// call makes a call for the account.
func (d *delivery) call(ctx context.Context, c call, out any) (http.Header, error) {
	return d.byToken(ctx, func(token string) (http.Header, error) {
		c.token = token
		return d.do(ctx, c, out)
	})
}

// byToken does something with the account's token. If LinkedIn does not take it, it is renewed, once, where it can
// be. Most apps have no refresh token: then only the person can help, and the error says so (judge).
func (d *delivery) byToken(
	ctx context.Context, do func(token string) (http.Header, error),
) (http.Header, error) {
	secrets := d.now()
	header, err := do(secrets[platform.SecretAccessToken])
	if judge(err) != strange || secrets[platform.SecretRefreshToken] == "" {
		return header, err
	}
	if e := d.renew(ctx, secrets); e != nil {
		return nil, e
	}
	return do(d.now()[platform.SecretAccessToken])
}

// now returns the newest secrets that this attempt knows.
func (d *delivery) now() platform.Secrets {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.secrets
}

// renew keeps the lock while the platform is asked: uploads that run beside this one wait for the new token, where they
// would use up a request with the old one.
func (d *delivery) renew(ctx context.Context, stale platform.Secrets) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// Once for the whole attempt: a token that was just given and is refused is no matter of its age, and each renewal
	// may use up a refresh token.
	if d.renewed { // by another upload, or in vain
		return nil
	}
	d.renewed = true
	newer, err := d.Credentials.Renew(ctx, stale)
	if err == nil {
		d.secrets = newer
	}
	return err
}

// warn tells the author something of a post that went out. The codes stand in docs/accounts.md, and clients branch on
// them.
func (d *delivery) warn(about, message string) {
	d.warnings = append(d.warnings, platform.Warning{Code: string(Name) + "." + about, Message: message})
}
