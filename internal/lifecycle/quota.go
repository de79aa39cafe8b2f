// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

// An organization has so many keys and no more. The controller mints none beyond that, and the API holds none: both
// keep all keys of the cluster in memory, whoever made them.

const (
	// DefaultKeyQuota is how many keys one organization has at most, unless somebody says otherwise.
	DefaultKeyQuota = 10_000
	// KeySlack is how many more the API holds. Two controllers that overlap, at a failover, may each give away the last
	// places; what they have minted is to be served.
	KeySlack = 64
)

// Outranks tells whether a, of two keys of one organization that have their hash, is served before b, where there is
// room for one of them: the one that was minted first. A key that is served already is never in the way of one that was
// minted later. It is a total order of what does not change, so that each replica serves the same keys, in whatever
// order it has heard of them.
func Outranks(a, b Key) bool {
	switch {
	case !a.MintedAt.Equal(b.MintedAt):
		return a.MintedAt.Before(b.MintedAt)
	case !a.CreatedAt.Equal(b.CreatedAt):
		return a.CreatedAt.Before(b.CreatedAt)
	default:
		return a.ID < b.ID
	}
}
