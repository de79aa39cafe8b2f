// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
)

// benchColdStart measures the first sync of an index beside a bare client that lists the same objects, in pages of the
// same size, into the same types.
func benchColdStart(ctx context.Context, r *report, b *bed) error {
	const keys = 100_000
	namespace, err := b.namespace(ctx)
	if err != nil {
		return err
	}
	if _, err := b.load(ctx, namespace, keys); err != nil {
		return err
	}
	rc, err := b.restClient()
	if err != nil {
		return err
	}
	if _, _, err := bareList(ctx, rc); err != nil { // the apiserver's cache takes the keys in
		return err
	}
	var syncs, lists []float64
	for range 3 {
		took, n, err := bareList(ctx, rc)
		if err != nil || n != keys {
			return fmt.Errorf("the bare list has %d keys, want %d: %w", n, keys, err)
		}
		lists = append(lists, took.Seconds())
		took, n, err = firstSync(ctx, rc)
		if err != nil || n != keys {
			return fmt.Errorf("the index has %d keys, want %d: %w", n, keys, err)
		}
		syncs = append(syncs, took.Seconds())
		progress("list %.1f s, first sync %.1f s", lists[len(lists)-1], syncs[len(syncs)-1])
	}
	r.atMost("cold start: first sync / bare LIST, 100,000 keys", median(syncs)/median(lists), 1.5, "x",
		fmt.Sprintf("%.2f s / %.2f s", median(syncs), median(lists)))
	return nil
}

func bareList(ctx context.Context, rc rest.Interface) (time.Duration, int, error) {
	began, n := time.Now(), 0
	for options := (metav1.ListOptions{Limit: 500}); ; {
		var page v1alpha1.ApiKeyList
		get := rc.Get().Resource("apikeys").VersionedParams(&options, metav1.ParameterCodec)
		if err := get.Do(ctx).Into(&page); err != nil {
			return 0, n, err
		}
		n += len(page.Items)
		if options.Continue = page.Continue; page.Continue == "" {
			return time.Since(began), n, nil
		}
	}
}

func firstSync(ctx context.Context, rc rest.Interface) (time.Duration, int, error) {
	ctx, stop := context.WithCancel(ctx)
	index := authn.NewIndex()
	feed := authn.NewFeed(index, rc, clock.RealClock{})
	began, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		feed.Run(ctx)
	}()
	err := feed.Relist(ctx)
	took := time.Since(began)
	stop()
	<-done
	return took, index.Size(), err
}
