// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/revocation"
	"github.com/letmepost/letmepost-operator/internal/turns"
)

// pendingRevocation is what is known of a key that is being deleted, or has leaked and stays. Organizations take turns
// by namespace, and in each the oldest comes first.
type pendingRevocation struct {
	name      types.UID // on the Lease
	namespace string
	since     time.Time
	// canceling: what it had queued is canceled once more, or was, since no replica accepts it any more.
	canceling bool
}

// Applied returns the resourceVersion up to which ApiKeys have been applied to the index, "" if none yet. And it
// returns the keys, at most limit and by revocation.NameOf, that the index refuses because they are being deleted or
// have leaked, and of which somebody waits to be told so; the oldest first, so that all replicas name the same ones. A
// key is not among them while a write with it is past its commit point.
//
// With several namespaces it is the newest resourceVersion of all. The controller takes a deletion for confirmed when
// its key is named and the resourceVersion is not older than the deletion. The newest is safe: a key is named only
// after its own namespace has been applied up to its deletion, and whatever the number claims of the other namespaces
// confirms nothing, because their keys are not named. The oldest would be safe too, but slow: a quiet namespace hears
// of a new resourceVersion about once a minute, by a bookmark, and every deletion elsewhere would wait for that.
//
// Model: step Applied.
// Model: step Room.
func (f *Feed) Applied(limit int, first ...types.UID) (resourceVersion string, revoked []types.UID) {
	for _, keys := range f.keys {
		resourceVersion = newer(resourceVersion, keys.applied())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	pending := make(map[types.UID]struct{}, len(f.revoked))
	for id := range f.revoked {
		if !f.index.committing(id) {
			pending[id] = struct{}{}
		}
	}
	for _, name := range first {
		id := revocation.IDOf(name)
		if _, ok := pending[id]; ok && f.revoked[id].name == name {
			revoked = append(revoked, id)
			delete(pending, id)
		}
	}
	others := slices.Collect(maps.Keys(pending))
	f.inTurns(others)
	revoked = append(revoked, others...)
	revoked = revoked[:min(limit, len(revoked))]
	for i, id := range revoked {
		revoked[i] = f.revoked[id].name
	}
	return resourceVersion, revoked
}

// Canceled returns the keys, at most limit and those of one organization in turn with those of others, of which what
// they had queued is canceled, since their ApiKeys said that no replica accepts them. None, if nothing is canceled
// here.
func (f *Feed) Canceled(limit int) (canceled []types.UID) {
	if f.index.onWithdraw == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, r := range f.revoked {
		if r.canceling && !f.index.committing(id) {
			canceled = append(canceled, id)
		}
	}
	f.inTurns(canceled)
	return canceled[:min(limit, len(canceled))]
}

// inTurns sorts keys that are being deleted: of each organization in turn the oldest deletion. mu must be held.
func (f *Feed) inTurns(ids []types.UID) {
	turns.Sort(ids, func(id types.UID) string { return f.revoked[id].namespace }, func(a, b types.UID) int {
		return cmp.Or(f.revoked[a].since.Compare(f.revoked[b].since), cmp.Compare(a, b))
	})
}

// newer returns the newer one of two resourceVersions of one resource. Any is newer than "". They are compared as
// numbers, which KEP-5504 allows for versions of one resource.
func newer(a, b string) string {
	if order, err := resourceversion.CompareResourceVersion(a, b); a == "" || err == nil && order < 0 {
		return b
	}
	return a
}

// Changed is sent to when Applied has another key to return. It holds one: whoever reads it calls Applied, which has
// all that has changed until then.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// notify says that Applied has something new to return. It must not block: it is called from where keys are put.
func (f *Feed) notify() {
	select {
	case f.changed <- struct{}{}:
	default: // it has been sent to already, and not looked at yet
	}
}

// putKey takes a key in, and tells whether Applied has it to return from now on.
//
// The index comes first: a key must not be named before it is refused and its requests have been cut. And what it has
// queued is being canceled before the key counts as one whose posts are.
func (f *Feed) putKey(k *v1alpha1.ApiKey) (notify bool) {
	f.index.PutKey(k)
	since, waits := awaitedSince(k)
	if !waits {
		f.forget(k.UID)
		return false
	}
	name := revocation.NameOf(k)
	was, known := f.pending(k.UID)
	known = known && was.name == name // and not a leak's, when it is being deleted now
	canceling := was.canceling
	if v1alpha1.AwaitsCancellation(k) && !canceling {
		f.index.withdrawAgain(k)
		canceling, known = true, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked[k.UID] = pendingRevocation{name: name, namespace: k.Namespace, since: since, canceling: canceling}
	return !known
}

// pending returns what is known of a key that is being deleted, if it is.
func (f *Feed) pending(id types.UID) (r pendingRevocation, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known = f.revoked[id]
	return r, known
}

// awaitedSince tells whether somebody waits to be told that k is refused, and since when: because it is being deleted,
// or because it has leaked and stays.
func awaitedSince(k *v1alpha1.ApiKey) (time.Time, bool) {
	if !k.DeletionTimestamp.IsZero() {
		return k.DeletionTimestamp.Time, slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation)
	}
	revoking := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionRevoking)
	if !lifecycle.KeyOf(k).Leaked || revoking == nil {
		return time.Time{}, false
	}
	return revoking.LastTransitionTime.Time, true
}

// removeKey takes out a key that is gone: its deletion is over, and nobody waits to be told of it.
func (f *Feed) removeKey(k *v1alpha1.ApiKey) {
	f.index.RemoveKey(k) // first, so that it is refused whatever else is known of it
	f.forget(k.UID)
}

// forget ends a pending revocation: nobody waits for it any more.
func (f *Feed) forget(id types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.revoked, id)
}

// retainKeys forgets the keys of a namespace that are not among ids.
func (f *Feed) retainKeys(namespace string, ids map[types.UID]struct{}) {
	f.index.retainKeys(namespace, ids)
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.revoked, func(id types.UID, r pendingRevocation) bool {
		_, ok := ids[id]
		return !ok && within(namespace, r.namespace)
	})
}
