// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Resource is something that an organization may have so much of. The words are columns, labels and rules, so they
// stay.
type Resource string

// The resources. All are of one environment.
const (
	Posts       Resource = "posts"        // that are kept, and attempts at them beyond the first
	QueuedPosts Resource = "queued_posts" // that are still to come
	MediaFiles  Resource = "media_files"
	Bytes       Resource = "bytes" // of media, and of what posts say
	Accounts    Resource = "accounts"
)

// Resources lists them, in the order of the columns.
var Resources = []Resource{Posts, QueuedPosts, MediaFiles, Bytes, Accounts}

// Amounts is how much there is, or may be, of each resource. What is missing is none of it; as a quota, any number.
type Amounts map[Resource]int64

// DefaultQuotas is what one organization may have, unless somebody says otherwise. It is more than a person notices,
// and together less than the volume that the chart makes by default.
var DefaultQuotas = Amounts{
	Posts: 1_000_000, QueuedPosts: 10_000, MediaFiles: 100_000, Bytes: 5 << 30, Accounts: 10_000,
}

// QuotaError says that an organization can't have more of something. Nothing was done.
type QuotaError struct {
	Resource Resource
	Quota    int64
	// Used is how much there is, without what was asked for; -1 for callers who are confined to a profile: what
	// others of the organization have is not for them.
	Used int64
}

// Error implements error.
func (e *QuotaError) Error() string {
	return fmt.Sprintf("the organization may have no more than %d %s", e.Quota, e.Resource)
}

var usageOfView = declareScoped(`SELECT ` + columns() + ` FROM usage WHERE {organization}`)

// scanUsage reads the columns of usage.
func scanUsage(rows *sql.Rows) (Amounts, error) {
	numbers := make([]int64, len(Resources))
	into := make([]any, len(Resources))
	for i := range numbers {
		into[i] = &numbers[i]
	}
	err := rows.Scan(into...)
	usage := Amounts{}
	for i, r := range Resources {
		usage[r] = numbers[i]
	}
	return usage, err
}

// usage is what the view's whole organization has, this transaction's changes included.
func (tx *Tx) usage() (Amounts, error) { return usageOr0(inTx(tx, usageOfView, scanUsage)) }

// Backlog returns whose view it is, and how many posts that organization has queued, those of this transaction too: of
// all its profiles, as organizations take turns, and not profiles.
func (tx *Tx) Backlog() (organization string, queued int, err error) {
	usage, err := tx.usage()
	return tx.view.organization, int(usage[QueuedPosts]), err
}

// usageOr0 is the usage in a list: an organization that has nothing has no row.
func usageOr0(list []Amounts, err error) (Amounts, error) {
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// checkQuota is asked when something was added, and says whether it may stay: counted is what this transaction has
// added and its usage shows, and ahead what is bound to come of it later. The error is a *QuotaError, or the
// database's.
//
// In PostgreSQL, the row of usage is locked by whoever adds to it until their transaction ends. So what is seen here is
// all that there is: of two who take the last place at once, one comes second, and is refused.
func (tx *Tx) checkQuota(counted, ahead Amounts) error {
	usage, err := tx.usage()
	if err != nil {
		return fmt.Errorf("read what the organization has: %w", err)
	}
	return tx.view.refuse(usage, counted, ahead)
}

// Room is the room that an organization had at one moment. It takes none.
type Room struct {
	view  *View
	usage Amounts
}

// Room makes sure that there is room for more, so that nobody sends in vain what is refused at its end. The error is
// that of the write. The write that adds checks once more, and that counts.
func (v *View) Room(ctx context.Context, more Amounts) (Room, error) {
	usage, err := usageOr0(read(ctx, v, usageOfView, scanUsage))
	if err != nil {
		return Room{}, err
	}
	return Room{v, usage}, v.refuse(usage, nil, more)
}

// Left is how much more of a resource there may be; false: any number.
func (r Room) Left(of Resource) (int64, bool) {
	quota, bounded := r.view.db.quotas[of]
	return max(0, quota-r.usage[of]), bounded
}

// Exceeded is the error of more than that.
func (r Room) Exceeded(of Resource) error {
	left, _ := r.Left(of)
	return r.view.refuse(r.usage, nil, Amounts{of: left + 1})
}

// refuse decides. What is not added to is never in the way: whoever has too much may still use what they have.
func (v *View) refuse(usage, counted, ahead Amounts) error {
	for _, r := range Resources {
		quota, bounded := v.db.quotas[r]
		if !bounded || counted[r]+ahead[r] <= 0 || usage[r]+ahead[r] <= quota {
			continue
		}
		err := &QuotaError{Resource: r, Quota: quota, Used: usage[r] - counted[r]}
		v.db.quotaWatch.refused(v.organization, err)
		if v.pinned {
			err.Used = -1
		}
		return err
	}
	return nil
}
