// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// benchAtOnce counts the writes to the replicas' Leases while keys are deleted at once. A replica renews twenty times a second
// at most, however many keys there are to confirm; the controller's word to replicas that are late comes on top.
func (b *bed) benchAtOnce(ctx context.Context, r *report, few, many keys) error {
	small, err := b.deleteAtOnce(ctx, few)
	if err != nil {
		return err
	}
	large, err := b.deleteAtOnce(ctx, many)
	if err != nil {
		return err
	}
	r.plain(fmt.Sprintf("revoke: %d keys at once, until the last is gone", fewAtOnce), small.took.Seconds(), " s", small.String())
	r.plain(fmt.Sprintf("revoke: %d keys at once, until the last is gone", manyAtOnce), large.took.Seconds(), " s", large.String())
	r.plain(fmt.Sprintf("revoke: %d at once, Lease writes a replica and second", fewAtOnce), small.rate(), "/s", small.perKey())
	r.atMost(fmt.Sprintf("revoke: %d at once, Lease writes a replica and second", manyAtOnce), large.rate(), 25, "/s", large.perKey())
	return nil
}

// atOnce is what was seen while keys were deleted at once.
type atOnce struct {
	keys    int
	request time.Duration  // until the one request to delete them was answered
	took    time.Duration  // until the last was gone
	writes  map[string]int // by Lease
}

func (a atOnce) most() (most int) {
	for _, n := range a.writes {
		most = max(most, n)
	}
	return most
}

// rate is that of the replica whose Lease was written most. One write more than intervals fit into a time may fall into it.
func (a atOnce) rate() float64 { return float64(a.most()) / a.took.Seconds() }

func (a atOnce) perKey() string {
	return fmt.Sprintf("the busiest replica's: %d, %.2f a key", a.most(), float64(a.most())/float64(a.keys))
}

func (a atOnce) String() string {
	total := 0
	for _, n := range a.writes {
		total += n
	}
	return fmt.Sprintf("DELETE answered after %.2f s; %d Lease writes for %d replicas", a.request.Seconds(), total, len(a.writes))
}

// deleteAtOnce deletes all keys of a namespace with one request, and returns when all are gone.
func (b *bed) deleteAtOnce(ctx context.Context, k keys) (atOnce, error) {
	n := len(k.plaintexts)
	progress("deleting %d keys at once", n)
	a := atOnce{keys: n, writes: map[string]int{}}
	objects, err := b.client.Watch(ctx, &v1alpha1.ApiKeyList{}, client.InNamespace(k.namespace))
	if err != nil {
		return a, err
	}
	defer objects.Stop()
	leases, err := b.client.Watch(ctx, &coordinationv1.LeaseList{}, client.InNamespace("letmepost-system"), client.HasLabels{v1alpha1.LabelReplica})
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
		err := b.client.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, client.InNamespace(k.namespace))
		a.request = time.Since(began)
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
