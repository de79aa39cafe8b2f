// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// quotas are the flags of what one organization may have in the database; of keys, see keyring.Flags. All have a
// default, because one that may have any amount may take the room of all others; who wants that says so.
type quotas struct {
	stored store.Amounts // what is not in it has no bound

	given map[store.Resource]*string // as texts
}

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

// addFlags goes by the list of resources and not by a map, so that --help has the same order each time.
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
		// It takes numbers alone. Bytes may have a unit, so what it says of those counts only if they are to have no bound.
		n, err := process.ParseQuota(*q.given[r])
		if r == store.Bytes && *q.given[r] != process.Unbounded {
			n, err = parseBytes(*q.given[r])
		}
		if err != nil {
			return usageError{fmt.Sprintf("--%s: %v", quotaFlag(r), err)}
		}
		// None is 0 here, and is left out: what is missing has no bound.
		if n > 0 {
			q.stored[r] = n
		}
	}
	return nil
}

// parseBytes takes sizes as Kubernetes writes them. No size of 0 is taken, for check's reason.
func parseBytes(text string) (int64, error) {
	size, err := resource.ParseQuantity(text)
	if err != nil || size.Value() < 1 {
		return 0, fmt.Errorf("want bytes, such as 20Gi, or %s, not %q", process.Unbounded, text)
	}
	return size.Value(), nil
}
