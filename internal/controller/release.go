// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

const (
	// releasePage is the number of ApiKeys listed at once. There is no cache here: with all keys at once this process
	// would need as much memory as a controller has.
	releasePage = 500
	// releasesAtOnce is the number of patches under way at once. The chart's job has some minutes for all of them.
	releasesAtOnce = 16
	// lookAgain is the time between two looks at what is waited for.
	lookAgain = time.Second
)

// ReleaseOptions are what Release needs to know.
type ReleaseOptions struct {
	// Namespace of the leader election Lease and of the API replicas' Leases.
	Namespace string
	// WatchNamespaces are those whose ApiKeys are let go. None: all namespaces.
	WatchNamespaces []string
	// Identity that the leader election Lease is held by. No other process may have it.
	Identity string
	// Clock tells the time.
	Clock clock.PassiveClock
	// Progress takes lines for people.
	Progress io.Writer
}

// Released is what a Release has done. It is also told of a Release that has failed: what was done until then stays
// done.
type Released struct {
	// Keys whose finalizer was taken off.
	Keys int
	// Gone is how many of them were being deleted, and so are gone.
	Gone int
}

// Release takes FinalizerRevocation off every ApiKey, so that each can be deleted when no controller runs any more.
// Each is marked by AnnotationUnconfirmed, without which the chart's policies let no served key go like that. Keys,
// Secrets and status stay as they are. A controller that is started later puts the finalizer back and takes the mark
// off.
//
// It first takes the leader election Lease, and holds it until the end: a controller that leads would put the finalizer
// back. Then it waits until the barrier says that no API replica is left which may accept a key. So a deletion in
// progress is let go no sooner than a controller would have done it, and that of a key that is deleted from now on
// needs nobody's confirmation. The Leases of replicas that have not given theirs up are deleted as well. ctx bounds all
// of it; the error says what was being waited for.
//
// It needs, and uses, no more than:
//
//	letmepost.dev        apikeys  list, patch          in each namespace of WatchNamespaces, or in all
//	coordination.k8s.io  leases   create               in Namespace
//	coordination.k8s.io  leases   get, update          in Namespace, of the name letmepost-controller
//	coordination.k8s.io  leases   list, delete         in Namespace
func Release(ctx context.Context, cfg *rest.Config, o ReleaseOptions) (Released, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the apiserver's Priority and Fairness decides what is too much
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return Released{}, fmt.Errorf("register letmepost.dev types: %w", err)
	}
	// A client without a cache: a cache would list all keys, and need a permission to watch them.
	keys, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return Released{}, fmt.Errorf("make a client of ApiKeys: %w", err)
	}
	leases, err := coordinationclient.NewForConfig(cfg)
	if err != nil {
		return Released{}, fmt.Errorf("make a client of Leases: %w", err)
	}
	r := &release{
		ReleaseOptions: o, keys: keys,
		barrier: revocation.NewBarrier(leases.Leases(o.Namespace), o.Clock),
	}
	err = r.lead(ctx, leases)
	return r.done, err
}

type release struct {
	ReleaseOptions
	keys    client.Client
	barrier *revocation.Barrier
	done    Released

	mu       sync.Mutex // of progress: the elector calls back from goroutines of its own
	progress retry.Complaint
}

// print tells people something, unless it is what they were told last: what is waited for is looked at every second.
func (r *release) print(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if line := fmt.Sprintf(format, args...); r.progress.Due(line, r.Clock.Now()) {
		fmt.Fprintln(r.Progress, line)
	}
}

var errLeaseLost = errors.New("the leader election Lease was lost")

// lead runs the rest while this process holds the leader election Lease. It gives the Lease up when all is over, and no
// sooner: when ctx ends, the elector would give it up at once, while patches are still under way. So it gets a context
// of its own, which ctx ends only as long as nothing has begun.
func (r *release) lead(ctx context.Context, leases coordinationclient.LeasesGetter) error {
	lease := r.Namespace + "/" + Name
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	begun, result := make(chan struct{}), make(chan error, 1)
	context.AfterFunc(ctx, func() {
		select {
		case <-begun: // it ends by itself, and then stops this
		default:
			stop()
		}
	})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: Name}, Client: leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: r.Identity},
		},
		// The defaults of the controller's flags. Who holds a Lease writes on it how long others wait: these need not be
		// the same as the controller's.
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: true,
		Name:            Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnNewLeader: func(holder string) {
				if holder != r.Identity && holder != "" {
					r.print("waiting for a controller to end: %s holds the Lease %s", holder, lease)
				}
			},
			OnStartedLeading: func(held context.Context) {
				close(begun)
				// It ends with ctx or with the Lease, whichever ends first, and its cause tells which.
				life, end := context.WithCancelCause(ctx)
				context.AfterFunc(held, func() { end(errLeaseLost) })
				// On this goroutine, while the elector renews the Lease on its own.
				err := r.run(life)
				if err != nil && errors.Is(context.Cause(life), errLeaseLost) {
					err = errLeaseLost
				}
				result <- err
				stop()
			},
			OnStoppedLeading: func() {}, // required; held ends then
		},
	})
	if err != nil {
		return fmt.Errorf("take part in leader election: %w", err)
	}
	elector.Run(electing) // returns when electing has ended, or the Lease is lost
	select {
	case <-begun:
		return <-result
	default:
		return fmt.Errorf("take the Lease %s, held by %q: a controller must not be running: %w",
			lease, elector.GetLeader(), context.Cause(ctx))
	}
}

// run waits for the API replicas to be gone, then lets go of one ApiKey after another until none is left. What goes
// wrong is tried again until ctx ends: permissions, for one, may have been granted a moment ago.
func (r *release) run(ctx context.Context) error {
	// In this order: a key that may go without the barrier's word must not be accepted anywhere any more, and until its
	// Lease is expired a replica may accept it.
	steps := []func(context.Context) (done bool, err error){r.awaitReplicas, r.deleteLeases, r.letGo}
	for _, step := range steps {
		var last error
		for {
			done, err := step(ctx)
			if done {
				break
			}
			if err != nil && ctx.Err() == nil {
				last = err
				r.print("trying again: %v", err)
			}
			if retry.Pause(ctx, lookAgain) {
				continue
			}
			if last == nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w; what it waited for: %w", context.Cause(ctx), last)
		}
	}
	return nil
}

// awaitReplicas tells whether no API replica is left that may accept a key. It is an error that one is: this is what
// Release returns when there is no more time, and people have to know which process to end.
func (r *release) awaitReplicas(ctx context.Context) (done bool, err error) {
	unexpired, err := r.barrier.Unexpired(ctx)
	if err != nil {
		return false, err
	}
	if len(unexpired) > 0 {
		return false, fmt.Errorf("%d API replicas may still accept keys: %s",
			len(unexpired), strings.Join(unexpired, ", "))
	}
	r.print("no controller and no API replica is left")
	return true, nil
}

// deleteLeases deletes the Leases that replicas have left behind. A replica deletes its own when it ends; but when an
// installation is removed, its permission to do so may be gone before it.
func (r *release) deleteLeases(ctx context.Context) (done bool, err error) {
	if err := r.barrier.DeleteExpired(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// letGo takes the finalizer off all ApiKeys, and tells whether that was all. It was not if one has changed meanwhile.
func (r *release) letGo(ctx context.Context) (done bool, err error) {
	namespaces := r.WatchNamespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	looked, all := 0, int64(0) // all is what the apiserver estimates: keys come and go meanwhile
	done = true
	for _, namespace := range namespaces {
		next := ""
		for first := true; first || next != ""; first = false {
			page := &v1alpha1.ApiKeyList{} // anew: what one leaves out would stay as another has it
			err := r.keys.List(ctx, page,
				client.InNamespace(namespace), client.Limit(releasePage), client.Continue(next))
			if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
				break // there is no such resource, and so no ApiKey
			}
			if err != nil {
				return false, fmt.Errorf("list ApiKeys: %w", err)
			}
			next = page.Continue
			if first {
				all += int64(len(page.Items)) + ptr.Deref(page.RemainingItemCount, 0)
			}
			changed, err := r.letGoOf(ctx, page.Items)
			if err != nil {
				return false, err
			}
			// What has changed is looked at again by listing all anew; those that are done cost no patch then.
			done = done && !changed
			looked += len(page.Items)
			r.print("%d of %d ApiKeys let go", looked, max(all, int64(looked)))
		}
	}
	return done, nil
}

// letGo tells whether nothing is to be done about k.
func letGo(k *v1alpha1.ApiKey) bool {
	_, marked := k.Annotations[v1alpha1.AnnotationUnconfirmed]
	free := marked || k.Status.Hash == "" || !k.DeletionTimestamp.IsZero()
	// The mark is for the policies, which hold what has a hash and is not yet deleted; of all else, the finalizer is
	// enough.
	return free && !slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation)
}

// releasePatch is the merge patch that takes the finalizer off k and marks it as one that may go without: policies that
// are left behind by an installation would not let it be deleted otherwise. The resourceVersion guards the finalizers
// of others.
func releasePatch(k *v1alpha1.ApiKey) (client.Patch, error) {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": k.ResourceVersion,
		"finalizers":      othersFinalizers(k),
		"annotations":     map[string]any{v1alpha1.AnnotationUnconfirmed: v1alpha1.Unconfirmed},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	return client.RawPatch(types.MergePatchType, body), nil
}

// letGoOf takes the finalizer off these ApiKeys, and tells whether one of them has changed meanwhile, and may still
// have it.
func (r *release) letGoOf(ctx context.Context, keys []v1alpha1.ApiKey) (changed bool, err error) {
	var released, gone, left atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	// The first error ends the others' patches too. All of it is tried again.
	group.SetLimit(releasesAtOnce)
	for i := range keys {
		k := &keys[i]
		if letGo(k) {
			continue
		}
		// Looked at before the patch, which overwrites k with the answer.
		held := slices.Contains(k.Finalizers, v1alpha1.FinalizerRevocation)
		leaves := !k.DeletionTimestamp.IsZero() && len(othersFinalizers(k)) == 0
		group.Go(func() error {
			patch, err := releasePatch(k)
			if err == nil {
				err = r.keys.Patch(ctx, k, patch, client.FieldOwner(Name))
			}
			switch {
			case err == nil && held:
				released.Add(1)
				if leaves {
					gone.Add(1)
				}
			case err == nil: // it was marked only
			case apierrors.IsInvalid(err), apierrors.IsConflict(err): // it has changed since it was listed
				left.Add(1)
			case !apierrors.IsNotFound(err):
				return fmt.Errorf("take the finalizer off %s/%s: %w", k.Namespace, k.Name, err)
			}
			return nil
		})
	}
	err = group.Wait()
	// Also after an error: what has been done is to be told in any case.
	r.done.Keys += int(released.Load())
	r.done.Gone += int(gone.Load())
	return left.Load() > 0, err
}
