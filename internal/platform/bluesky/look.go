// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Look looks for the records of a post, and writes none. Of the account's secrets it needs the address of the server
// alone: records are public, and are asked for as by a stranger. An error is that of the secrets: nothing was looked
// at.
func (s *service) Look(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	secrets, err := p.Credentials.Get(ctx)
	if err != nil {
		return nil, err
	}
	d := &delivery{service: s, Publication: p, secrets: secrets}
	// With the text and the time of the first attempt: a record that stands at one of these keys by chance would be told
	// as this post.
	at, found, err := d.findAny(ctx, partPost, p.Content.Text, p.FirstSentAt)
	switch {
	case err != nil:
		return platform.OutcomeUnknown{Failure: *withResponse(err, &platform.Failure{
			Code: platform.CodeUnavailable, Rule: ruleUnknown,
			Message: "The account's server did not say whether it has the post.",
		})}, nil
	case !found:
		return platform.NotTaken{}, nil
	}
	r := platform.Receipt{URI: at.URI, CID: at.CID}
	if p.Content.FirstComment == "" {
		return platform.Published{Receipt: r}, nil
	}
	// The time is the one that comment gives its record.
	comment, found, err := d.findAny(ctx, partComment, p.Content.FirstComment, p.FirstSentAt.Add(time.Second))
	switch {
	// The post is there, which is what was asked.
	case err != nil:
		d.warn(firstComment, "The post is published. Whether its first comment is there is not known: the account's server "+
			"did not say. The post was to be canceled, so the comment is not sent again.")
	case found:
		r.FirstCommentURI, r.FirstCommentCID = comment.URI, comment.CID
	default:
		d.warn(firstComment, "The post is published. It was to be canceled, so its first comment is not sent any more.")
	}
	r.Warnings = d.warnings
	return platform.Published{Receipt: r}, nil
}
