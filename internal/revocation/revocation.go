// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package revocation is the barrier between deleting an ApiKey and its being gone: both ends of it.
//
// Every API process is a Replica. It holds a Lease, and names on it the keys that it refuses because they are being
// deleted. The controller asks the Barrier whom a deletion still waits for, and lifts the ApiKey's finalizer when that
// is nobody. A Replica that can't renew its Lease shuts its fence, and accepts nothing, before the Barrier may count it
// out:
//
//	sent     F: the fence shuts                        the Replica's clock
//	 │────────────────►│
//	 └─ renewal ─┐
//	             │──────────────────────►│             the Barrier's clock
//	            seen       L: the Lease has expired
//
// F is less than L, and neither reads the other's clock. docs/revocation.md has the argument, test/model checks it.
package revocation

import (
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// DefaultLeaseDuration is L. A crashed replica holds deletions up for so long; an apiserver that is away for two thirds
// of it makes the replicas refuse everything.
const DefaultLeaseDuration = 15 * time.Second

// MaxNamed is how many keys a Lease names at most, those first whose deletion is the oldest. The others follow when
// these are gone. It keeps a Lease below 20 KB.
const MaxNamed = 500

// fenceAfter is F.
func fenceAfter(leaseDuration time.Duration) time.Duration { return leaseDuration * 2 / 3 }

// CommitWithin bounds a write that has passed its commit point, in a replica with a Lease of this duration. It is less
// than what lies between the fence and the Lease's expiry, so that the write is over before nobody waits for it any
// more.
func CommitWithin(leaseDuration time.Duration) time.Duration { return leaseDuration / 4 }

// announcement is what a Lease says beside the renewal.
type announcement struct {
	applied string                 // the resourceVersion up to which the replica's store has applied ApiKeys; "": nothing yet
	revoked map[types.UID]struct{} // keys that are being deleted, and that the replica refuses
	awaited string                 // what the controller waits for; "": nothing
}

// encodeRevoked is the value of AnnotationRevoked.
func encodeRevoked(ids []types.UID) string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, string(id))
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// announcementOn reads a Lease. Whatever else stands there confirms nothing.
func announcementOn(l *coordinationv1.Lease) announcement {
	a := announcement{
		applied: l.Annotations[v1alpha1.AnnotationApplied],
		awaited: l.Annotations[v1alpha1.AnnotationAwaited],
		revoked: map[types.UID]struct{}{},
	}
	if names := l.Annotations[v1alpha1.AnnotationRevoked]; names != "" {
		for name := range strings.SplitSeq(names, ",") {
			a.revoked[types.UID(name)] = struct{}{}
		}
	}
	return a
}

// confirms tells whether the replica refuses the key with this UID, whose deletion has this resourceVersion. That its
// store is past the deletion is not enough: a watch that has lost the event goes past it as well.
func (a announcement) confirms(id types.UID, resourceVersion string) bool {
	_, named := a.revoked[id]
	return named && !before(a.applied, resourceVersion)
}

// before tells whether one resourceVersion is older than another. What is not one is older than all.
func before(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order < 0
}

// leaseDurationOf is how long a Lease lasts after a renewal.
func leaseDurationOf(l *coordinationv1.Lease) time.Duration {
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		return time.Duration(*s) * time.Second
	}
	return DefaultLeaseDuration
}
