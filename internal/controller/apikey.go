// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// Cache indexes on ApiKeys. With 100,000 keys, a walk through all of them for each reconcile would take longer than
// all the rest of it.
const (
	byHash        = "hash"       // the bucket of what status.hash, or spec.secretHash before that is written, finds
	byProfileName = "profileRef" // spec.profileRef.name
	byProfileID   = "profileID"  // status.profileID
)

// apiKeys reconciles ApiKeys.
type apiKeys struct {
	Options
	client   client.Client // reads from the cache, but for Secrets
	uncached client.Reader // reads from the apiserver
	events   events.EventRecorder
	status   *statusWriter
	reserved *reservations
	census   *census
	leaks    *leaks
	buckets  hashBuckets                // of the index byHash
	synced   func(context.Context) bool // waits until the cache is in step
}

// setupApiKeys makes the reconciler of ApiKeys and says what wakes it: the key itself, a sweep over all keys, another
// key with the same lookup, and the key's Profile. Secrets are not among it: to watch them, the controller would have
// to be allowed to read all of them.
func setupApiKeys(mgr manager.Manager, opts Options) (*apiKeys, error) {
	r := &apiKeys{
		Options:  opts,
		client:   mgr.GetClient(),
		uncached: mgr.GetAPIReader(),
		events:   mgr.GetEventRecorder(Name),
		reserved: newReservations(),
		census:   newCensus(opts.KeyQuota),
		leaks:    newLeaks(),
		buckets:  hashBuckets{maphash.MakeSeed()},
		synced:   mgr.GetCache().WaitForCacheSync,
	}
	r.status = &statusWriter{client: r.client, events: r.events, clock: opts.Clock}
	if err := r.buckets.index(mgr.GetCache()); err != nil {
		return nil, fmt.Errorf("index %s: %w", byHash, err)
	}
	if err := r.census.follow(mgr.GetCache()); err != nil {
		return nil, fmt.Errorf("count ApiKeys: %w", err)
	}
	if opts.Registerer != nil {
		if err := opts.Registerer.Register(r.census); err != nil {
			return nil, fmt.Errorf("register the metrics of quotas: %w", err)
		}
		if err := opts.Registerer.Register(r.leaks.counts); err != nil {
			return nil, fmt.Errorf("register lmp_leak_reports_total: %w", err)
		}
	}
	indexer := mgr.GetFieldIndexer()
	for field, extract := range map[string]func(*v1alpha1.ApiKey) string{
		byProfileName: profileName,
		byProfileID:   func(k *v1alpha1.ApiKey) string { return k.Status.ProfileID },
	} {
		err := indexer.IndexField(context.Background(), &v1alpha1.ApiKey{}, field, indexOf(extract))
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", field, err)
		}
	}
	if err := indexLeaks(indexer); err != nil {
		return nil, fmt.Errorf("index %s: %w", byLookup, err)
	}
	// Before any event: what handles those of ApiKeys reads Leases, and the cache has none of a kind that nobody watches.
	_, err := mgr.GetCache().GetInformer(context.Background(), &coordinationv1.Lease{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch Leases: %w", err)
	}
	// Several predicates of one builder are all to be true.
	changedKey := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, exposed), exceptSwept)
	changedSpec := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	// The spec is immutable, so a change of generation is the beginning of a deletion. A change of status alone is this
	// controller's own doing: it wakes the rivals of a key that has just got its hash, and nobody else. Of what else may
	// change, the loss of the finalizer counts.
	return r, builder.ControllerManagedBy(mgr).
		For(&v1alpha1.ApiKey{}, changedKey).
		WatchesRawSource(source.Func(r.sweep)).
		WatchesRawSource(source.Func(r.census.wakes)).
		Watches(&v1alpha1.ApiKey{}, handler.EnqueueRequestsFromMapFunc(r.rivalsOf), builder.WithPredicates(changesRivals)).
		Watches(&v1alpha1.ApiKey{}, handler.EnqueueRequestsFromMapFunc(r.knownLeak), builder.WithPredicates(getsHash)).
		Watches(&v1alpha1.LeakedKey{}, handler.EnqueueRequestsFromMapFunc(r.keysOfLeak)).
		Watches(&coordinationv1.Lease{}, handler.EnqueueRequestsFromMapFunc(r.reportedOn)).
		Watches(&v1alpha1.Profile{}, handler.EnqueueRequestsFromMapFunc(r.keysOf), changedSpec).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: opts.Concurrency, RateLimiter: retries(), NewQueue: newTurns,
		}).
		Complete(traced(opts.Tracer, "ApiKey", r))
}

// exposed lets every change of a key through that has its hash and not its finalizer: until that is back on, the
// promise that its deletion is confirmed stands on the chart's policies alone.
var exposed = predicate.NewPredicateFuncs(func(o client.Object) bool {
	k := o.(*v1alpha1.ApiKey)
	return k.Status.Hash != "" && k.DeletionTimestamp.IsZero() && unprotected(k)
})

// Reconcile brings one ApiKey to where its spec and the world allow: fetch, decide, act, and write status once.
func (r *apiKeys) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	k := new(v1alpha1.ApiKey)
	if err := r.client.Get(ctx, req.NamespacedName, k); apierrors.IsNotFound(err) {
		r.reserved.forget(req.NamespacedName)
		r.census.gone(req.NamespacedName)
		r.leaks.forget(req.NamespacedName)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("get ApiKey: %w", err)
	}
	// Also of one that is being deleted: somebody may restore it.
	leaked, unnoted := r.takeNote(ctx, k)
	// Two reconcilers share the kind: with status written by both while a key is being deleted, each would undo the
	// other's conditions.
	if !k.DeletionTimestamp.IsZero() {
		r.status.tell(k, unnoted)
		return failed(unnoted) // all else is for revocations
	}
	// From the cache, which may be behind: a key that is served already needs no more, and one that is to get its hash is
	// looked at again, with its Profile, before anything is made.
	profile, err := getProfile(ctx, r.client, k)
	if err != nil {
		return reconcile.Result{}, err
	}
	found, err := r.act(ctx, findings{key: k, profile: profile, leaked: leaked, unnoted: unnoted})
	// What is unsaid is not written either: status stays as it is, and does not say something that would be taken back in
	// a moment.
	if again, unsaid := found.unsaid(); unsaid {
		return reconcile.Result{RequeueAfter: again}, err
	}
	if text, answered := answerOf(err); answered {
		found.failure = text
	} else if err != nil {
		return failed(err)
	}
	// Also after an answer that was an error: a user who waits is told why, and the key is tried again all the same.
	state, unwritten := r.writeStatus(ctx, found)
	if err = errors.Join(err, unwritten); err != nil {
		return failed(err)
	}
	return r.nextTurn(found, state), nil
}

// nextTurn is when, and how far behind others, the key is looked at again although no event has come. A key that waits
// for a person has been looked at already; those that nobody has looked at come before it.
func (r *apiKeys) nextTurn(found findings, state lifecycle.State) reconcile.Result {
	again := reconcile.Result{RequeueAfter: r.nextLook(found, state)}
	if found.secret == secretConflict || found.secret == secretRejected || found.crowded {
		again.Priority = behind
	}
	return again
}

// behind is where in the queue a key waits that has been looked at in vain: what one namespace can't get done delays
// nobody's new keys.
var behind = ptr.To(handler.LowPriority)

// failed has a key looked at again, if there is an error. An error makes controller-runtime count, log and try again
// with the limiter's pauses; a conflict deserves none of that.
func failed(err error) (reconcile.Result, error) {
	if err == nil {
		return reconcile.Result{}, nil
	}
	if apierrors.IsConflict(err) {
		// The cache was behind the apiserver. That is no error, and will have passed in a moment.
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	return reconcile.Result{Priority: behind}, err
}

// retries is how what fails is tried again: at once at first, and never later than half a minute. The default grows to
// a quarter of an hour, which is how long a key would wait after what was broken is repaired.
func retries() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, 25*time.Second)
}

// soon is when to look again at an object of which the cache was behind. An error would be tried again with growing
// pauses, which such a race does not deserve: the event that ends it is on its way already.
const soon = 50 * time.Millisecond

// shortly is when to look again at what somebody else is busy with: the garbage collector with a Secret, for one.
const shortly = time.Second

// act does what the key's state asks for, and returns what was found on the way. A key that has its hash has the
// finalizer, whatever its state: without it, it would be gone the moment it is deleted. Only a pending key is minted:
// one that has its hash is never minted again, whatever has become of its Secret, because its plaintext may be in use.
func (r *apiKeys) act(ctx context.Context, found findings) (findings, error) {
	k := found.key
	// First of all, and whatever else is wrong with the key: this is what its deletion is confirmed by.
	if k.Status.Hash != "" {
		// Somebody may have taken the finalizer off, as `controller release` does, or the key was restored without it.
		if err := r.protect(ctx, &found); err != nil || found.gone {
			return found, err
		}
	}
	switch state := lifecycle.Of(found.life(), lifecycle.ProfileOf(found.profile), r.Clock.Now()); {
	case found.unnoted != nil:
		return found, found.unnoted // as if it had leaked, of which the end has to wait
	case found.leaked:
		return r.endLeaked(ctx, found)
	case state.Reason == v1alpha1.ReasonPending:
		if there, err := r.lookAgain(ctx, found); err != nil || there.secret == secretConflict {
			return there, err
		}
		return r.assignHash(ctx, found)
	case state.Served():
		return r.inspect(ctx, found)
	default:
		return found, r.giveUp(ctx, found)
	}
}

// giveUp lets others have what an attempt has kept for a key that failed, and that can't be minted as things are. Only
// the apiserver knows that it has failed: the cache may not have the hash yet, and until it has, others are to wait.
func (r *apiKeys) giveUp(ctx context.Context, found findings) error {
	k := found.key
	name := client.ObjectKeyFromObject(k)
	if k.Status.Hash != "" || !r.reserved.has(name) && !r.census.isMinting(k) {
		return nil
	}
	if err := r.refresh(ctx, &found); err != nil || found.gone || found.key.Status.Hash != "" {
		return err
	}
	r.reserved.forget(name)
	r.census.giveUp(k)
	return nil
}

// nextLook is when to look at the key again although no event has come; 0 means never. Secrets are not watched, so that
// the one that is in the way is asked for now and then; expiry is an event that nobody sends. The soonest of all
// reasons counts.
func (r *apiKeys) nextLook(found findings, state lifecycle.State) time.Duration {
	// A person, who is waited for otherwise, takes longer than the garbage collector.
	const later, longest = 25 * time.Second, 5 * time.Minute
	var next time.Duration
	if found.crowded {
		next = wait.Jitter(longest, 0.2) // it is woken when there is room; this is for a wake that came to nothing
	}
	switch found.secret {
	case secretLeaving:
		next = shortly
	case secretRejected:
		// With jitter: one policy may have rejected very many at once. Within half a minute in any case.
		next = wait.Jitter(min(later, r.SecretRecheckInterval), 0.2)
	case secretConflict:
		// Whoever has not come within minutes is not about to: ten thousand keys that are in each other's way must not
		// keep the workers busy for ever.
		lasted := r.Clock.Since(conflictSince(found.key, r.Clock.Now()))
		next = wait.Jitter(min(max(later, lasted/4), longest, r.SecretRecheckInterval), 0.2)
	}
	if !state.ChangesAt.IsZero() {
		// At least a millisecond: 0 would mean never, and the moment may have come since.
		if left := max(state.ChangesAt.Sub(r.Clock.Now()), time.Millisecond); next == 0 || left < next {
			next = left
		}
	}
	return next
}

// getProfile returns the Profile that k's profileRef names now; nil if it names none, or one that is not there. Whether
// it is the one that k is bound to is for lifecycle to say: names are for people, UIDs decide. from is the cache or the
// apiserver: the caller knows how sure it has to be.
func getProfile(ctx context.Context, from client.Reader, k *v1alpha1.ApiKey) (*v1alpha1.Profile, error) {
	if k.Spec.ProfileRef == nil {
		return nil, nil
	}
	profile := new(v1alpha1.Profile)
	err := from.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: k.Spec.ProfileRef.Name}, profile)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get Profile %s: %w", k.Spec.ProfileRef.Name, err)
	}
	return profile, nil
}

// keysOf maps a Profile to the ApiKeys that name it: those that wait for it, and those that are refused when it goes.
func (r *apiKeys) keysOf(ctx context.Context, profile client.Object) []reconcile.Request {
	var keys v1alpha1.ApiKeyList
	if err := r.client.List(ctx, &keys, client.InNamespace(profile.GetNamespace()),
		client.MatchingFields{byProfileName: profile.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list ApiKeys from the cache")
		return nil
	}
	return requestsFor(keys.Items)
}

func requestsFor(keys []v1alpha1.ApiKey) []reconcile.Request {
	reqs := make([]reconcile.Request, len(keys))
	for i := range keys {
		reqs[i].NamespacedName = client.ObjectKeyFromObject(&keys[i])
	}
	return reqs
}

func profileName(k *v1alpha1.ApiKey) string {
	if k.Spec.ProfileRef == nil {
		return ""
	}
	return k.Spec.ProfileRef.Name
}

// indexOf makes an index of what extract returns. Keys without it are not in the index, which saves its memory. All of
// an index's objects are of the kind that it was made for, so the type assertion can't fail.
func indexOf(extract func(*v1alpha1.ApiKey) string) client.IndexerFunc {
	return func(o client.Object) []string {
		if value := extract(o.(*v1alpha1.ApiKey)); value != "" {
			return []string{value}
		}
		return nil
	}
}
