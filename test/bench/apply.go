// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// applyConcurrency is that of whoever applies the manifests, of the controller, and of the bare client.
const applyConcurrency = 8

// benchApply measures 1,000 ApiKeys applied at once until all are Ready, beside a bare client that makes the writes
// that this takes (ApiKey, finalizer, Secret, status, event) with the same concurrency.
func benchApply(ctx context.Context, r *report, b *bed) error {
	const keys = 1_000
	var bare, ours []float64
	for range 3 {
		took, err := b.bareApply(ctx, keys)
		if err != nil {
			return err
		}
		bare = append(bare, took.Seconds())
		p, _, err := b.runController(ctx)
		if err != nil {
			return err
		}
		took, err = b.applyUntilReady(ctx, keys)
		if stopErr := p.Stop(ctx); err != nil || stopErr != nil {
			return fmt.Errorf("apply: %w; stop the controller: %w", err, stopErr)
		}
		ours = append(ours, took.Seconds())
		progress("bare writes %.1f s, applied until Ready %.1f s", bare[len(bare)-1], ours[len(ours)-1])
	}
	r.atMost("apply: 1,000 ApiKeys until Ready / bare writes", median(ours)/median(bare), 1.5, "x",
		fmt.Sprintf("%.2f s / %.2f s", median(ours), median(bare)))
	return nil
}

func (b *bed) bareApply(ctx context.Context, n int) (time.Duration, error) {
	namespace, err := b.namespace(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = inParallel(ctx, n, func(ctx context.Context, i int) error { return b.bareKey(ctx, namespace, i) })
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	// The controller of the next round must not find them.
	return took, b.unload(ctx, namespace)
}

// noOrganization is the id that keys have which nobody looks at.
const noOrganization = "00000000-0000-4000-8000-000000000000"

func (b *bed) bareKey(ctx context.Context, namespace string, i int) error {
	k := newKey(namespace, i)
	if err := b.client.Create(ctx, k); err != nil {
		return err
	}
	plaintext, err := b.format.Mint(rand.NewChaCha8([32]byte{3, byte(i), byte(i >> 8)}), key.Live)
	if err != nil {
		return err
	}
	if err := b.protect(ctx, k); err != nil {
		return err
	}
	if err := b.client.Create(ctx, keysecret.Encode(k, plaintext, "https://api.letmepost.dev")); err != nil {
		return err
	}
	if err := b.patchStatus(ctx, k, noOrganization, plaintext); err != nil {
		return err
	}
	return b.client.Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: k.Name + "-"},
		EventTime:  metav1.NowMicro(), ReportingController: "bench", ReportingInstance: "bench",
		Action: "Mint", Reason: "Minted", Type: corev1.EventTypeNormal,
		Note: "Minted " + k.Status.Hint + " into Secret " + k.Name,
		Regarding: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(),
			Kind:       "ApiKey",
			Namespace:  namespace,
			Name:       k.Name,
			UID:        k.UID,
		},
	})
}

func (b *bed) applyUntilReady(ctx context.Context, n int) (time.Duration, error) {
	namespace, err := b.namespace(ctx)
	if err != nil {
		return 0, err
	}
	w, err := b.client.Watch(ctx, &v1alpha1.ApiKeyList{}, client.InNamespace(namespace))
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	began := time.Now()
	applied := make(chan error, 1)
	go func() {
		applied <- inParallel(ctx, n, func(ctx context.Context, i int) error {
			return b.client.Create(ctx, newKey(namespace, i))
		})
	}()
	ready := map[string]bool{}
	for len(ready) < n {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case event, ok := <-w.ResultChan():
			k, isKey := event.Object.(*v1alpha1.ApiKey)
			if !ok || !isKey {
				return 0, fmt.Errorf("the watch ended with %d of %d keys Ready: %v", len(ready), n, event.Object)
			}
			if meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady) {
				ready[k.Name] = true
			}
		}
	}
	took := time.Since(began)
	if err := <-applied; err != nil {
		return 0, err
	}
	return took, b.unload(ctx, namespace)
}

func newKey(namespace string, i int) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("key-%d", i)},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}
}

// inParallel calls do for 0 to n-1, applyConcurrency at a time.
func inParallel(ctx context.Context, n int, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(applyConcurrency)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}
