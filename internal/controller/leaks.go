// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// A process that was shown a key as leaked says so on its Lease, with the whole digest of the key. That proves that it
// has seen the key: what is published of one is half of the digest, and a binding that takes the other half to make.
// From a report that proves itself comes a LeakedKey, and all else follows from that: what ApiKey has the key, now or
// later, is deleted if its key was minted here, so that whoever applies it again gets another key; and marked if its
// key was brought by its hash, because whoever applies that again brings the same key.

// byLookup is the index of LeakedKeys by what finds a key: the first half of their names.
const byLookup = "lookup"

// leaks are the reports that have proven themselves, until there is a LeakedKey of each.
type leaks struct {
	// It guards the maps: events of Leases note, and reconciles settle.
	mu       sync.Mutex
	reported map[types.UID]leakReport       // by the ApiKey
	settled  map[key.Digest]struct{}        // of which there is a LeakedKey, which the cache may not have yet
	ended    map[types.UID]struct{}         // ApiKeys that were deleted, which the cache may not show yet
	unproven map[revocation.Report]struct{} // that were counted and logged
	counts   *prometheus.CounterVec
}

// leakReport is a key that was shown to the process that has this Lease.
type leakReport struct {
	name   types.NamespacedName
	digest key.Digest
	lease  string
}

// mostRemembered bounds what is remembered of reports that are over. To forget one too early costs a line in the log.
const mostRemembered = 10_000

// Results of reports, in the metric.
const (
	leakProven   = "proven"
	leakUnproven = "unproven" // no ApiKey of that namespace has such a key: it has gone, or the report is made up
)

func newLeaks() *leaks {
	l := &leaks{
		reported: map[types.UID]leakReport{}, settled: map[key.Digest]struct{}{},
		ended: map[types.UID]struct{}{}, unproven: map[revocation.Report]struct{}{},
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_leak_reports_total",
			Help: "Keys that were reported as leaked, by whether the report proved to be of a key that there is.",
		}, []string{"result"}),
	}
	for _, result := range []string{leakProven, leakUnproven} {
		l.counts.WithLabelValues(result)
	}
	return l
}

// note notes a report of an ApiKey's key.
func (l *leaks) note(id types.UID, r leakReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.reported[id]; !known {
		l.reported[id] = r
	}
}

// of returns the report of an ApiKey's key.
func (l *leaks) of(id types.UID) (leakReport, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.reported[id]
	return r, ok
}

// settle ends the report of an ApiKey's key, of which there is a LeakedKey.
func (l *leaks) settle(id types.UID, d key.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.reported, id)
	remember(l.settled, d)
}

// forget forgets the report of an ApiKey that is gone before a LeakedKey could be made.
func (l *leaks) forget(name types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.reported, func(_ types.UID, r leakReport) bool { return r.name == name })
}

// isSettled tells whether there is a LeakedKey of a digest.
func (l *leaks) isSettled(d key.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.settled[d]
	return ok
}

// end notes that an ApiKey is deleted, and tells whether it was not before.
func (l *leaks) end(id types.UID) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, before := l.ended[id]
	remember(l.ended, id)
	return !before
}

// firstUnproven tells whether r is seen for the first time: a Lease is looked at with each of its renewals.
func (l *leaks) firstUnproven(r revocation.Report) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, seen := l.unproven[r]
	remember(l.unproven, r)
	return !seen
}

func remember[K comparable](set map[K]struct{}, k K) {
	if len(set) >= mostRemembered {
		clear(set)
	}
	set[k] = struct{}{}
}

// indexLeaks adds the index byLookup.
func indexLeaks(indexer client.FieldIndexer) error {
	return indexer.IndexField(context.Background(), &v1alpha1.LeakedKey{}, byLookup, func(o client.Object) []string {
		// The schema admits no other name. What got past it is nobody's leak, and in no index.
		digest, err := key.ParseHex(o.GetName())
		if err != nil {
			return nil
		}
		return []string{lookupText(digest.Lookup())}
	})
}

func lookupText(l key.Lookup) string { return hex.EncodeToString(l[:]) }

// leaked tells whether there is a LeakedKey of k's key, by the cache.
func (r *apiKeys) leaked(ctx context.Context, k *v1alpha1.ApiKey) (bool, error) {
	hash, err := lifecycle.WantedHash(k)
	if err != nil {
		return false, nil // nobody knows its key yet
	}
	return r.isLeaked(ctx, hash, lifecycle.OwnerOf(k, k.Status.OrganizationID))
}

// isLeaked tells whether there is a LeakedKey of the key that this hash binds to an owner, by the cache.
func (r *apiKeys) isLeaked(ctx context.Context, hash key.Hash, owner key.Owner) (bool, error) {
	var found v1alpha1.LeakedKeyList
	err := r.client.List(ctx, &found, client.InNamespace(r.Namespace),
		client.MatchingFields{byLookup: lookupText(hash.Lookup)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("list LeakedKeys from the cache: %w", err)
	}
	return slices.ContainsFunc(found.Items, func(l v1alpha1.LeakedKey) bool {
		digest, err := key.ParseHex(l.Name)
		return err == nil && digest.Proves(&hash.Binding, owner)
	}), nil
}

// takeNote tells whether k's key has leaked, and makes the LeakedKey of it if k has been reported. That comes before
// all else that follows from the report: whatever then happens to k or to this process, the key is not served again.
func (r *apiKeys) takeNote(ctx context.Context, k *v1alpha1.ApiKey) (leaked bool, err error) {
	report, reported := r.leaks.of(k.UID)
	if leaked, err = r.leaked(ctx, k); err != nil || leaked || !reported {
		// A renewal of the Lease may have had it noted once more, before the cache had the LeakedKey.
		if leaked && reported {
			r.leaks.settle(k.UID, report.digest)
		}
		return leaked, err
	}
	if err := r.makeLeakedKey(ctx, k, report); err != nil {
		return false, err
	}
	return true, nil
}

// makeLeakedKey makes the LeakedKey of k's key, unless there is one.
//
// Model: step TakeNote.
func (r *apiKeys) makeLeakedKey(ctx context.Context, k *v1alpha1.ApiKey, report leakReport) error {
	l := &v1alpha1.LeakedKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: report.digest.Hex(),
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
		},
		Spec: v1alpha1.LeakedKeySpec{
			ApiKeyNamespace: k.Namespace, ApiKeyName: k.Name, Environment: k.Spec.Environment, Hint: k.Status.Hint,
			ReportedTo: report.lease,
		},
	}
	err := r.client.Create(ctx, l, client.FieldOwner(Name))
	if err != nil && !apierrors.IsAlreadyExists(err) {
		// Not wrapped: the error has the digest in it, which is for LeakedKeys alone.
		return answer("make the LeakedKey: " + key.Redact(err.Error(), report.digest.Hex()))
	}
	r.leaks.settle(k.UID, report.digest)
	if err == nil {
		r.census.leakChanged(l, true) // before k gives up its place: the cache may show that first
		r.leaks.counts.WithLabelValues(leakProven).Inc()
	}
	auditor{r.Audit}.leaked(k, report.lease)
	return nil
}

// endLeaked ends a key that has leaked. One that was minted here is deleted, by the way of every deletion: if somebody
// applies the ApiKey again, another key is minted. One that was brought stays, and its status says why it is refused.
//
// Model: step EndLeaked.
func (r *apiKeys) endLeaked(ctx context.Context, found findings) (findings, error) {
	k := found.key
	if k.Spec.SecretHash != "" || k.Status.Hash == "" {
		return found, nil
	}
	// By its UID: an ApiKey that was made anew under this name is looked at by itself.
	err := r.client.Delete(ctx, k, client.Preconditions{UID: &k.UID})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return found, fmt.Errorf("delete the ApiKey of a leaked key: %w", err)
	}
	found.gone = true
	if err == nil && r.leaks.end(k.UID) {
		r.events.Eventf(k, nil, corev1.EventTypeWarning, v1alpha1.ReasonLeaked, "Revoke",
			"Somebody who has this key has reported it as leaked. It is refused, and the ApiKey is being deleted. "+
				"Create it again to get another key")
	}
	return found, nil
}
