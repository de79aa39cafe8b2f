// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sweepAfter is how many times its own duration an expired Lease is left, so that people can see which process has
// crashed.
const sweepAfter = 20

// Sweep deletes the Leases of processes that are long gone: one that crashes leaves its own behind, under a name that
// no other process takes over.
//
// Model: step Sweep.
func (b *Barrier) Sweep(ctx context.Context) error {
	b.forgetUnasked()
	return b.deleteStale(ctx, sweepAfter)
}

// DeleteExpired deletes the Leases of all processes that are gone, however recently. It is for the end of an
// installation, after which nobody sweeps.
func (b *Barrier) DeleteExpired(ctx context.Context) error { return b.deleteStale(ctx, 1) }

// deleteStale deletes the Leases that have not been renewed for so many times their duration.
func (b *Barrier) deleteStale(ctx context.Context, durations time.Duration) error {
	if _, err := b.list(ctx); err != nil {
		return err
	}
	var errs []error
	for name, resourceVersion := range b.stale(durations) {
		// A process that was only paused may have renewed its Lease since the list: then it is left alone.
		unchanged := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &resourceVersion}}
		err := b.leases.Delete(ctx, name, unchanged)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("delete the Lease of a replica that is gone: %w", err))
		}
	}
	return errors.Join(errs...)
}

// stale returns the resourceVersions of such Leases by name.
func (b *Barrier) stale(durations time.Duration) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, versions := b.clock.Now(), map[string]string{}
	for name, r := range b.replicas {
		if now.Sub(r.since) >= durations*r.duration {
			versions[name] = r.resourceVersion
		}
	}
	return versions
}
