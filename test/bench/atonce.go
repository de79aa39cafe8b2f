// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// benchAtOnce counts the writes to the replicas' Leases while keys are deleted at once. A replica renews twenty times a
// second at most, however many keys there are to confirm; the controller's word to replicas that are late comes on top.
func (b *bed) benchAtOnce(ctx context.Context, r *report, few, many, burst keys) error {
	for _, c := range []struct {
		name    string
		keys    keys
		request func(context.Context, keys) error
	}{
		// The apiserver takes one after the other.
		{fmt.Sprintf("%d keys, one DELETE", fewAtOnce), few, b.deleteCollection},
		{fmt.Sprintf("%d keys, one DELETE", manyAtOnce), many, b.deleteCollection},
		{fmt.Sprintf("%d keys, %d clients", manyAtOnce, applyConcurrency), burst, b.deleteEach},
	} {
		progress("deleting at once: %s", c.name)
		a, err := b.deleteAtOnce(ctx, c.keys, c.request)
		if err != nil {
			return err
		}
		r.plain(
			"revoke: "+c.name+", until the last is gone",
			a.took.Seconds(),
			" s",
			fmt.Sprintf("deleted after %.2f s", a.deleted.Seconds()),
		)
		r.atMost(
			"revoke: "+c.name+", Lease writes a replica",
			float64(a.most())/a.took.Seconds(),
			25,
			"/s",
			fmt.Sprintf(
				"%v writes, %.2f a key and replica",
				slices.Sorted(maps.Values(a.writes)),
				float64(a.most())/float64(len(c.keys.plaintexts)),
			),
		)
	}
	return nil
}

func (b *bed) deleteCollection(ctx context.Context, k keys) error {
	return b.client.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, client.InNamespace(k.namespace))
}

func (b *bed) deleteEach(ctx context.Context, k keys) error {
	return inParallel(
		ctx,
		len(k.plaintexts),
		func(ctx context.Context, i int) error { return b.client.Delete(ctx, k.key(i)) },
	)
}

// atOnce is what was seen while keys were deleted at once.
type atOnce struct {
	deleted time.Duration  // until all requests to delete were answered
	took    time.Duration  // until the last key was gone
	writes  map[string]int // by Lease
}

// most is how often the Lease was written that was written most.
func (a atOnce) most() (most int) {
	for _, n := range a.writes {
		most = max(most, n)
	}
	return most
}

// deleteAtOnce deletes all keys of a namespace, and returns when they are gone.
func (b *bed) deleteAtOnce(ctx context.Context, k keys, request func(context.Context, keys) error) (atOnce, error) {
	n, a := len(k.plaintexts), atOnce{writes: map[string]int{}}
	objects, err := b.client.Watch(ctx, &v1alpha1.ApiKeyList{}, client.InNamespace(k.namespace))
	if err != nil {
		return a, err
	}
	defer objects.Stop()
	leases, err := b.client.Watch(
		ctx,
		&coordinationv1.LeaseList{},
		client.InNamespace("letmepost-system"),
		client.HasLabels{v1alpha1.LabelReplica},
	)
	if err != nil {
		return a, err
	}
	defer leases.Stop()
	shown := 0
	if err := next(ctx, objects, func(watch.Event) bool { shown++; return shown == n }); err != nil {
		return a, err
	}

	g, ctx := errgroup.WithContext(ctx)
	counting, gone := context.WithCancel(ctx)
	began := time.Now()
	g.Go(func() error {
		err := request(ctx, k)
		a.deleted = time.Since(began)
		return err
	})
	g.Go(func() error {
		defer gone()
		left := n
		err := next(ctx, objects, func(e watch.Event) bool {
			if e.Type == watch.Deleted {
				left--
			}
			return left == 0
		})
		a.took = time.Since(began)
		return err
	})
	err = next(counting, leases, func(e watch.Event) bool {
		if e.Type == watch.Modified {
			a.writes[e.Object.(*coordinationv1.Lease).Name]++
		}
		return false
	})
	if counting.Err() != nil {
		err = nil // they were counted to the end
	}
	err = errors.Join(err, g.Wait())
	return a, err
}
