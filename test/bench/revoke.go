// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// What is revoked, of 10,000 keys. The rest are asked with meanwhile.
const (
	replicas      = 3
	keysLoaded    = 10_000
	requestRate   = 500
	refusals      = 300 // one after another, until every replica refuses the key
	deletions     = 200 // one after another, until kubectl would return
	realDeletions = 5   // with kubectl itself
	fewAtOnce     = 50
	manyAtOnce    = 500
)

// benchRevoke measures a revocation with 3 real API processes and the real controller: how soon the key is refused, how
// soon `kubectl delete` returns, and what many revocations at once cost in writes.
func benchRevoke(ctx context.Context, r *report, b *bed) error {
	one, err := b.loadedKeys(ctx, keysLoaded-fewAtOnce-2*manyAtOnce)
	if err != nil {
		return err
	}
	few, err := b.loadedKeys(ctx, fewAtOnce)
	if err != nil {
		return err
	}
	many, err := b.loadedKeys(ctx, manyAtOnce)
	if err != nil {
		return err
	}
	burst, err := b.loadedKeys(ctx, manyAtOnce)
	if err != nil {
		return err
	}
	progress("starting the controller and %d API replicas", replicas)
	f, err := b.runFleet(ctx, replicas, keysLoaded)
	if err != nil {
		return err
	}
	defer f.stop()
	toRefuse, rest := one.split(refusals)
	toDelete, rest := rest.split(deletions)
	really, rest := rest.split(realDeletions)
	t := f.traffic(ctx, requestRate, rest.plaintexts)
	if err = b.benchRefusal(ctx, r, f, t, toRefuse); err == nil {
		err = b.benchDelete(ctx, r, t, toDelete, really)
	}
	if err == nil {
		err = b.benchAtOnce(ctx, r, few, many, burst)
	}
	return errors.Join(err, t.stop())
}

// keys are some that were loaded.
type keys struct {
	namespace  string
	first      int // of the names
	plaintexts []string
}

func (b *bed) loadedKeys(ctx context.Context, n int) (keys, error) {
	namespace, err := b.namespace(ctx)
	if err != nil {
		return keys{}, err
	}
	plaintexts, err := b.load(ctx, namespace, n)
	return keys{namespace, 0, plaintexts}, err
}

func (k keys) split(n int) (first, rest keys) {
	return keys{k.namespace, k.first, k.plaintexts[:n]}, keys{k.namespace, k.first + n, k.plaintexts[n:]}
}

func (k keys) key(i int) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: fmt.Sprintf("loaded-%d", k.first+i)},
	}
}

// benchRefusal measures when every replica refuses a key, beside a bare watch of the same object in the same
// revocation.
func (b *bed) benchRefusal(ctx context.Context, r *report, f *fleet, t *traffic, k keys) error {
	progress("revoking %d keys, until every replica refuses each", len(k.plaintexts))
	var refused, watched []time.Duration
	rate := t.measure()
	for i, plaintext := range k.plaintexts {
		b.breathe()
		everywhere, seen, err := b.refuse(ctx, f, k.key(i), plaintext)
		if err != nil {
			return fmt.Errorf("revocation %d: %w", i, err)
		}
		refused, watched = append(refused, everywhere), append(watched, seen)
	}
	basis := fmt.Sprintf("%d revocations, 10,000 keys, %.0f requests/s", len(refused), rate())
	r.plain("revoke: DELETE sent -> 401 of all 3 replicas, p50", milliseconds(percentile(refused, 50)), " ms", basis)
	r.atMost("revoke: DELETE sent -> 401 of all 3 replicas, p99", milliseconds(percentile(refused, 99)), 50, " ms", basis)
	for _, p := range []float64{50, 99} {
		ours, bare := milliseconds(percentile(refused, p)), milliseconds(percentile(watched, p))
		r.atMost(
			fmt.Sprintf("revoke: the same / bare watch of the object, p%g", p),
			ours/bare,
			3,
			"x",
			fmt.Sprintf("%.1f ms / %.1f ms", ours, bare),
		)
	}
	return nil
}

// breathe waits a little, not always as long: nobody deletes keys in step with the replicas' renewals.
func (b *bed) breathe() {
	time.Sleep(time.Duration(rand.New(b.random).Int64N(int64(100 * time.Millisecond))))
}

// refuse deletes a key. It returns the times from sending that until the last replica has refused the key, and until a
// bare watch has shown it with its deletionTimestamp.
func (b *bed) refuse(
	ctx context.Context,
	f *fleet,
	k *v1alpha1.ApiKey,
	plaintext string,
) (everywhere, watched time.Duration, err error) {
	for _, url := range f.urls {
		if status, err := whoamiStatus(ctx, url, plaintext); err != nil || status != http.StatusOK {
			return 0, 0, fmt.Errorf("before the deletion, %s answered %d: %w", url, status, err)
		}
	}
	w, err := b.watchKey(ctx, k)
	if err != nil {
		return 0, 0, err
	}
	defer w.Stop()
	refused := make([]time.Duration, len(f.urls))
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	g.Go(func() error { return b.client.Delete(ctx, k) })
	g.Go(func() error {
		err := next(ctx, w, func(e watch.Event) bool { return !e.Object.(*v1alpha1.ApiKey).DeletionTimestamp.IsZero() })
		watched = time.Since(began)
		return err
	})
	for i, url := range f.urls {
		g.Go(func() error {
			err := untilRefused(ctx, url, plaintext)
			refused[i] = time.Since(began)
			return err
		})
	}
	err = g.Wait()
	return slices.Max(refused), watched, err
}

// watchKey opens a watch of one ApiKey, and returns when it has shown the key as it is.
func (b *bed) watchKey(ctx context.Context, k *v1alpha1.ApiKey) (watch.Interface, error) {
	w, err := b.client.Watch(
		ctx,
		&v1alpha1.ApiKeyList{},
		client.InNamespace(k.Namespace),
		client.MatchingFields{"metadata.name": k.Name},
	)
	if err != nil {
		return nil, err
	}
	return w, next(ctx, w, func(e watch.Event) bool { return e.Type == watch.Added })
}

// next waits for an event.
func next(ctx context.Context, w watch.Interface, want func(watch.Event) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("an event has not come: %w", ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok || e.Type == watch.Error {
				return fmt.Errorf("the watch ended: %v", e.Object)
			}
			if want(e) {
				return nil
			}
		}
	}
}

// untilRefused asks with a key until it is refused. It pauses between two requests, which adds to what is measured:
// without that, the asking would take the machine for itself.
func untilRefused(ctx context.Context, url, plaintext string) error {
	for {
		switch status, err := whoamiStatus(ctx, url, plaintext); {
		case err != nil:
			return err
		case status == http.StatusUnauthorized:
			return nil
		case status != http.StatusOK:
			return fmt.Errorf("%s answered %d", url, status)
		}
		time.Sleep(time.Millisecond)
	}
}

// benchDelete measures when `kubectl delete` returns. Starting its process takes longer than that, and is left out.
func (b *bed) benchDelete(ctx context.Context, r *report, t *traffic, k, real keys) error {
	progress("deleting %d keys as kubectl does", len(k.plaintexts))
	var took []time.Duration
	rate := t.measure()
	for i := range k.plaintexts {
		b.breathe()
		began := time.Now()
		if err := b.deleteAsKubectl(ctx, k.key(i)); err != nil {
			return fmt.Errorf("deletion %d: %w", i, err)
		}
		took = append(took, time.Since(began))
	}
	basis := fmt.Sprintf("%d deletions, 10,000 keys, %.0f requests/s", len(took), rate())
	r.atMost("revoke: DELETE sent -> kubectl delete returns, p50", milliseconds(percentile(took, 50)), 150, " ms", basis)
	r.atMost("revoke: DELETE sent -> kubectl delete returns, p99", milliseconds(percentile(took, 99)), 500, " ms", basis)
	took = nil
	if err := b.kubectl(ctx, "get", "namespaces"); err != nil { // it learns what resources there are
		return err
	}
	for i := range real.plaintexts {
		b.breathe()
		began := time.Now()
		if err := b.kubectl(ctx, "delete", "apikey", real.key(i).Name, "--namespace", real.namespace); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	r.plain(
		"revoke: kubectl delete, the whole process",
		milliseconds(percentile(took, 50)),
		" ms",
		fmt.Sprintf("median of %d", len(took)),
	)
	return nil
}

// deleteAsKubectl makes the requests that `kubectl delete` makes: delete, get, list by name, and watch from there.
func (b *bed) deleteAsKubectl(ctx context.Context, k *v1alpha1.ApiKey) error {
	if err := b.client.Delete(ctx, k); err != nil {
		return err
	}
	if err := b.client.Get(ctx, client.ObjectKeyFromObject(k), k); err != nil {
		return client.IgnoreNotFound(err)
	}
	byName := []client.ListOption{client.InNamespace(k.Namespace), client.MatchingFields{"metadata.name": k.Name}}
	var list v1alpha1.ApiKeyList
	if err := b.client.List(ctx, &list, byName...); err != nil || len(list.Items) == 0 {
		return err
	}
	w, err := b.client.Watch(
		ctx,
		&v1alpha1.ApiKeyList{},
		append(byName, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})...)
	if err != nil {
		return err
	}
	defer w.Stop()
	return next(ctx, w, func(e watch.Event) bool { return e.Type == watch.Deleted })
}

// kubectl runs the real one.
func (b *bed) kubectl(ctx context.Context, args ...string) error {
	program, err := exec.LookPath("kubectl")
	if err != nil {
		program = kube.Path("bin/k8s/kubectl") // built where there is none
	}
	cmd := exec.CommandContext(
		ctx,
		program,
		append([]string{"--kubeconfig", b.KubeconfigPath(), "--cache-dir", b.dir + "/kubectl"}, args...)...)
	cmd.Env = kube.MinimalEnv()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl: %w: %s", err, output)
	}
	return nil
}
