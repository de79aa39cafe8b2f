// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"cmp"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// maxReplicas is how many replicas are looked at.
const maxReplicas = 500

// replicasSeen is what the person may know of the replicas of this release: what stands on their Leases, which are read
// with the person's own credential. This process may read none of them.
type replicasSeen struct {
	Namespace         string // of the release
	Forbidden, Failed bool   // why nothing is known of them
	Later             bool   // they were not asked for, this time
	N                 int
	Fenced            []replicaSeen // the longest first
	More              int           // fenced ones that are not named
}

// replicaSeen is one that renews its Lease no more.
type replicaSeen struct {
	Name, Environment string
	Since             time.Time // when it did last
}

// replicas asks for the Leases of all replicas; nil: nobody knows where they are.
func (r *request) replicas() *replicasSeen {
	seen := &replicasSeen{Namespace: r.dashboard.config.Namespace}
	if seen.Namespace == "" {
		return nil
	}
	leases, err := r.person.Cluster.Replicas(r.Context(), seen.Namespace, maxReplicas)
	if err != nil {
		seen.Forbidden = apierrors.IsForbidden(err)
		seen.Failed = !seen.Forbidden
		return seen
	}
	seen.N = len(leases)
	seen.Fenced = fencedAmong(leases, r.now)
	seen.More = max(0, len(seen.Fenced)-mostNamed)
	seen.Fenced = seen.Fenced[:min(len(seen.Fenced), mostNamed)]
	return seen
}

// replicasLater is replicas, when they are not asked for this time.
func (r *request) replicasLater() *replicasSeen {
	if r.dashboard.config.Namespace == "" {
		return nil
	}
	return &replicasSeen{Namespace: r.dashboard.config.Namespace, Later: true}
}

// fencedAmong are those that have not renewed their Lease for too long. It goes by the clock of this process:
// revocation.Silent says how far that may be off.
func fencedAmong(leases []coordinationv1.Lease, now time.Time) (fenced []replicaSeen) {
	for i := range leases {
		l := &leases[i]
		if since, silent := revocation.Silent(l, now); silent {
			fenced = append(fenced, replicaSeen{revocation.ReplicaName(l), l.Labels[v1alpha1.LabelReplica], since})
		}
	}
	slices.SortFunc(fenced, func(a, b replicaSeen) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return fenced
}
