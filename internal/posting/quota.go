// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"fmt"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// quotaWords is what is said of a resource: what there may be only so much of, and what makes room.
var quotaWords = map[store.Resource]struct{ what, makeRoom string }{
	store.Posts: {
		"posts (attempts after the first count as one more each)",
		"Posts are kept for good, so nothing but a higher quota makes room",
	},
	store.QueuedPosts: {"queued posts", "Wait until some have gone out, or cancel some with DELETE /v1/posts/{id}"},
	store.MediaFiles:  {"media files", "Delete some with DELETE /v1/media/{id}"},
	store.Bytes: {
		"bytes of media and of texts of posts, which this would exceed",
		"Delete media with DELETE /v1/media/{id}, or send less",
	},
	store.Accounts: {"connected accounts", "Disconnect some with DELETE /v1/accounts/{id}"},
}

// RuleQuota is the rule of a quota, such as organization.queued_posts.
func RuleQuota(r store.Resource) string { return "organization." + string(r) }

// ErrQuota is for who wants more than their organization may have. It is a 429, as the reference's quota_exceeded is,
// and so no answer that is stored: the same request may be sent again once there is room. How many there are is told
// only to those who reach all of them.
func ErrQuota(e *store.QuotaError) *problem.Problem {
	words := quotaWords[e.Resource]
	has := ""
	if e.Used >= 0 {
		has = fmt.Sprintf(" It has %d.", e.Used)
	}
	p := &problem.Problem{
		Kind: problem.RateLimited, Code: problem.CodeQuotaExceeded, Rule: RuleQuota(e.Resource),
		Message: fmt.Sprintf("The organization may have at most %d %s.%s Nothing was stored or published.",
			e.Quota, words.what, has),
		Remediation: fmt.Sprintf("%s. Whoever runs this server can raise it: --max-organization-%s.",
			words.makeRoom, strings.ReplaceAll(string(e.Resource), "_", "-")),
	}
	if e.Resource == store.QueuedPosts { // the only one that makes room by itself
		p.RetryAfter = time.Minute
	}
	return p
}
