// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// What has a leaked key looked at: a report on a Lease, a LeakedKey, and the ApiKey itself once its key is known. They
// are seen in any order.

// reportedOn maps a replica's Lease to the ApiKeys whose keys are reported on it, each with proof. What proves nothing
// does nothing: whoever has taken a replica over can end no key that they have not seen. A Lease comes here with each
// of its renewals, as it was and as it is, so all of this is done over and over for one report.
//
// Model: step Note.
func (r *apiKeys) reportedOn(ctx context.Context, lease client.Object) (all []reconcile.Request) {
	for _, report := range revocation.ReportsOn(lease.(*coordinationv1.Lease)) {
		keys, err := r.at(ctx, place{report.Namespace, report.Digest.Lookup()})
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list ApiKeys from the cache")
			continue
		}
		keys = slices.DeleteFunc(keys, func(k v1alpha1.ApiKey) bool { return !isOf(&k, report.Digest) })
		for i := range keys {
			r.leaks.note(keys[i].UID, leakReport{client.ObjectKeyFromObject(&keys[i]), report.Digest, lease.GetName()})
		}
		all = append(all, requestsFor(keys)...)
		// A report stays on its Lease for a while after its key has ended. That there is no ApiKey of it any more is then as
		// it should be, and not a sign of a replica that makes things up.
		if len(keys) == 0 && !r.leaks.isSettled(report.Digest) && r.leaks.firstUnproven(report) {
			r.leaks.counts.WithLabelValues(leakUnproven).Inc()
			ctrl.LoggerFrom(ctx).Info("A report of a leaked key is of no key that is seen here: it has gone, "+
				"is still to be seen, or the replica made the report up",
				"lease", lease.GetName(), "organization", report.Namespace)
		}
	}
	return all
}

// isOf tells whether the key with this digest is k's: the one that it has, or the one that it brings.
func isOf(k *v1alpha1.ApiKey, d key.Digest) bool {
	hash, err := lifecycle.WantedHash(k)
	return err == nil && d.BoundTo(lifecycle.OwnerOf(k, k.Status.OrganizationID)) == hash
}

// keysOfLeak maps a LeakedKey that has come or gone to the ApiKeys, of the namespace that it names, that have its key.
func (r *apiKeys) keysOfLeak(ctx context.Context, o client.Object) []reconcile.Request {
	l := o.(*v1alpha1.LeakedKey)
	digest, err := key.ParseHex(l.Name)
	if err != nil {
		return nil
	}
	keys, err := r.at(ctx, place{l.Spec.ApiKeyNamespace, digest.Lookup()})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ApiKeys from the cache")
		return nil
	}
	return requestsFor(keys)
}

// knownLeak maps an ApiKey whose key has become known to itself, if that key has leaked or is reported.
func (r *apiKeys) knownLeak(ctx context.Context, o client.Object) []reconcile.Request {
	k := o.(*v1alpha1.ApiKey)
	found, err := r.reportWaits(ctx, k)
	if err == nil && !found {
		found, err = r.leaked(ctx, k)
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "look for leaks")
	}
	if err != nil || found {
		return requestsFor([]v1alpha1.ApiKey{*k})
	}
	return nil
}

// reportWaits notes a report of k's key that stands on a Lease already. A replica may know a key, and be told that it
// has leaked, before this process knows it: whichever of the two is seen second has the report looked at. Nothing has
// to be remembered for that, because a replica leaves a report on its Lease until it is settled.
//
// Model: step Recall.
func (r *apiKeys) reportWaits(ctx context.Context, k *v1alpha1.ApiKey) (bool, error) {
	var leases coordinationv1.LeaseList
	err := r.client.List(ctx, &leases, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("list Leases from the cache: %w", err)
	}
	for i := range leases.Items {
		for _, report := range revocation.ReportsOn(&leases.Items[i]) {
			if report.Namespace == k.Namespace && isOf(k, report.Digest) {
				r.leaks.note(k.UID, leakReport{client.ObjectKeyFromObject(k), report.Digest, leases.Items[i].Name})
				return true, nil
			}
		}
	}
	return false, nil
}

// getsHash lets an ApiKey through whose key has become known: it is new and brings its hash, or has got one, from this
// controller, or because its status was restored, which is a change of nothing else.
var getsHash = predicate.Funcs{
	CreateFunc:  func(e event.CreateEvent) bool { return wantedHash(e.Object) != key.Hash{} },
	DeleteFunc:  func(event.DeleteEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		hash := wantedHash(e.ObjectNew)
		return hash != key.Hash{} && hash != wantedHash(e.ObjectOld)
	},
}

// wantedHash is that of an ApiKey's key; the zero Hash if nobody knows the key yet. Hashes are compared by it, so one
// that can't be read counts as none.
func wantedHash(o client.Object) key.Hash {
	hash, err := lifecycle.WantedHash(o.(*v1alpha1.ApiKey))
	if err != nil {
		return key.Hash{}
	}
	return hash
}
