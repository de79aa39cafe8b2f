// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// quotas are the flags of what one organization may have. All have a default, because one that may have any amount may
// take the room of all others; who wants that says so.
type quotas struct {
	stored store.Amounts // what is not in it has no bound

	given map[store.Resource]*string // as texts
}

// unbounded is how a flag says that there is no bound.
const unbounded = "none"

// quotaUsages is what --help says of each.
var quotaUsages = map[store.Resource]string{
	store.Posts: "Posts that are kept of one organization; attempts after the first count as one more each. " +
		"Beyond this and the following, writes get 429 quota_exceeded: a number, or none.",
	store.QueuedPosts: "Posts of one organization that are still to come: a number, or none.",
	store.MediaFiles:  "Media files of one organization: a number, or none.",
	store.Bytes:       "Size of all media and texts of posts of one organization: bytes, such as 20Gi, or none.",
	store.Accounts:    "Connected accounts of one organization: a number, or none.",
}

// quotaFlag is the flag of a resource.
func quotaFlag(r store.Resource) string {
	return "max-organization-" + strings.ReplaceAll(string(r), "_", "-")
}

func (q *quotas) addFlags(flags *pflag.FlagSet) {
	q.given = map[store.Resource]*string{}
	for _, r := range store.Resources {
		standard := strconv.FormatInt(store.DefaultQuotas[r], 10)
		if r == store.Bytes {
			standard = mebibytes(store.DefaultQuotas[r])
		}
		q.given[r] = flags.String(quotaFlag(r), standard, quotaUsages[r])
	}
}

// check takes the flags in. The error is a usageError. Zero is refused, as it may be taken for "no bound".
func (q *quotas) check() error {
	q.stored = store.Amounts{}
	for _, r := range store.Resources {
		text := *q.given[r]
		if text == unbounded {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		want := "a number"
		if r == store.Bytes {
			var size resource.Quantity
			size, err = resource.ParseQuantity(text)
			n, want = size.Value(), "bytes, such as 20Gi"
		}
		if err != nil || n < 1 {
			return usageError{fmt.Sprintf("--%s: want %s from 1 on, or %s, not %q", quotaFlag(r), want, unbounded, text)}
		}
		q.stored[r] = n
	}
	return nil
}
