// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// Store is what a replica recognises keys by. authn.Feed is one.
type Store interface {
	// Applied returns the resourceVersion up to which ApiKeys have been applied, "" if none yet; and the keys, at most
	// limit, that carry a deletionTimestamp and FinalizerRevocation and are refused, those first whose deletion is the
	// oldest. Whatever it returns has been applied before.
	Applied(limit int) (resourceVersion string, revoked []types.UID)
	// Changed is sent to when another key is refused because it is being deleted.
	Changed() <-chan struct{}
	// Relist throws the watches away and lists anew, consistently. It returns when a list that was sent after the call has
	// been applied, or when ctx ends, with its error.
	Relist(ctx context.Context) error
	// Heard is when the apiserver was last heard of, by each of the watches.
	Heard() time.Time
}

// Leases are the Leases of the release's namespace, as far as a replica needs them. client-go's LeaseInterface has
// more.
type Leases interface {
	Create(context.Context, *coordinationv1.Lease, metav1.CreateOptions) (*coordinationv1.Lease, error)
	Patch(
		ctx context.Context,
		name string,
		pt types.PatchType,
		data []byte,
		o metav1.PatchOptions,
		sub ...string,
	) (*coordinationv1.Lease, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// ReplicaOptions are what a Replica is made of. All are required except where they say otherwise.
type ReplicaOptions struct {
	Leases Leases
	Store  Store
	// Name of the Lease. No other process may ever have had it.
	Name string
	// Holder says to people whose Lease it is, such as the pod's name.
	Holder string
	// Environment that the replica serves.
	Environment v1alpha1.Environment
	// Duration of the Lease, in whole seconds.
	Duration time.Duration
	// Cut ends the requests that are running. It is called whenever the fence has shut.
	Cut func()
	// Reconnect closes the connections to the apiserver. It is called when an answer does not come: a connection that
	// has gone silent would be used again. Optional.
	Reconnect func()
	Clock     clock.Clock
	Logger    *slog.Logger
}

// Replica is one end of the barrier: an API process.
type Replica struct {
	ReplicaOptions
	fence      *fence
	nudge      nudge
	registered bool // there may be a Lease
	unanswered int  // attempts to register, in a row, that nobody has answered
	// relistsFail: the last time this replica held a Lease, it could renew that but not list. Until it can list, it is to
	// hold none: it would hold every deletion up.
	relistsFail bool

	complaint  string // the last one
	complained time.Time
}

// NewReplica returns a Replica that accepts nothing yet: Run makes it.
func NewReplica(o ReplicaOptions) *Replica {
	if o.Reconnect == nil {
		o.Reconnect = func() {}
	}
	return &Replica{ReplicaOptions: o, fence: newFence(o.Clock.Now())}
}

// Serving tells whether requests may be accepted at this moment. It is for every request to ask, with a clock reading
// of its own, when it comes and before it is answered.
func (r *Replica) Serving(now time.Time) bool { return r.fence.allows(now) }

// How a replica's times follow from the Lease's duration.
func (r *Replica) renewEvery() time.Duration   { return r.Duration * 2 / 15 }
func (r *Replica) answerWithin() time.Duration { return r.Duration / 4 }
func (r *Replica) fenceAfter() time.Duration   { return fenceAfter(r.Duration) }

// relistWithin bounds a list. Long ones of many keys must fit.
func (r *Replica) relistWithin() time.Duration { return 4 * r.Duration }

const (
	// announceEvery is the least time between two renewals: what happens meanwhile is told by the second.
	announceEvery = 50 * time.Millisecond
	// retryEvery is the time between attempts to get a Lease.
	retryEvery = 500 * time.Millisecond
	// unansweredBefore is how many such attempts may go unanswered before the next ones are far between.
	unansweredBefore = 3
	// listPatience is how long the first list may take before somebody is told why nothing is served.
	listPatience = 2 * time.Second
	// complainEvery is the time between two records of the same complaint.
	complainEvery = 15 * time.Second
	// obeyAfter is how long the controller may wait for something before the watch is taken for broken.
	obeyAfter = 2 * time.Second
	// silentFor is how long a watch may be silent before it is taken for broken. An apiserver sends a bookmark a minute.
	silentFor = 75 * time.Second
)

// Run holds the Lease, and opens and shuts the fence, until ctx ends; then it gives the Lease up. Nothing may be
// accepted from the moment ctx ends: no controller waits for this process any more.
func (r *Replica) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.join(ctx)
		r.fence.shut()
		r.Cut()
		if ctx.Err() == nil {
			r.complain(notServing, err)
			r.pause(ctx, r.retryAfter())
		}
	}
	if r.registered {
		r.leave(context.WithoutCancel(ctx))
	}
}

// retryAfter is when to try again to get a Lease. If it is answers that don't come, the requests may have arrived all
// the same, and the Lease be as good as new: then the attempts are so far between that it expires, and nobody waits for
// it.
func (r *Replica) retryAfter() time.Duration {
	if r.unanswered >= unansweredBefore {
		return r.Duration + retryEvery
	}
	return retryEvery
}

var (
	errLapsed = errors.New(
		"the Lease could not be renewed in time, so the controller may have stopped to wait for this replica",
	)
	errDeleted = errors.New("the Lease was deleted")
	errListing = errors.New("keys and profiles are being listed")
	errNoList  = errors.New("the Lease can be renewed, but keys and profiles can't be listed")
)

// What complain says before the reason.
const (
	notServing  = "not serving, trying on: "
	notRenewing = "the Lease could not be renewed, trying on: "
)

// complain says what is wrong and why, when that changes and every now and then.
func (r *Replica) complain(what string, err error) {
	now, text := r.Clock.Now(), what+err.Error()
	if text == r.complaint && now.Sub(r.complained) < complainEvery {
		return
	}
	r.complaint, r.complained = text, now
	r.Logger.Warn(text, "lease", r.Name)
}

// join registers this replica, then lists, then serves, until that has to end; the error says why. In this order: a
// deletion that comes before the list is in it, and one that comes later finds the Lease and waits.
//
// Model: step Join.
func (r *Replica) join(ctx context.Context) error {
	if r.relistsFail {
		if err := r.Store.Relist(ctx); err != nil {
			return err
		}
		r.relistsFail = false
	}
	if err := r.register(ctx); err != nil {
		return fmt.Errorf("get the Lease: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return r.hold(ctx)
}

// hold keeps the Lease of a replica that has registered, and the store in step with what is awaited.
func (r *Replica) hold(ctx context.Context) error {
	list := r.relist(ctx)
	last := r.Clock.Now() // attempt to renew
	due := last.Add(r.renewEvery())
	timer := r.Clock.NewTimer(r.renewEvery())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C():
		case <-r.Store.Changed():
			due = sooner(due, last.Add(announceEvery))
		case <-list.done:
			if err := r.listed(list); err != nil {
				return err
			}
			list.done, due = nil, last.Add(announceEvery) // what was in the list is told soon
		}
		if !r.Clock.Now().Before(due) {
			again, err := r.renew(ctx)
			if err != nil {
				return err
			}
			last = r.Clock.Now()
			due = last.Add(again)
		}
		var err error
		if list, err = r.keepInStep(ctx, list); err != nil {
			return err
		}
		timer.Reset(max(due.Sub(r.Clock.Now()), 0))
	}
}

// keepInStep asks for a new list when the watches are to be taken for broken. The error says that one does not come.
//
// Model: step GiveUp.
func (r *Replica) keepInStep(ctx context.Context, list *listing) (*listing, error) {
	now := r.Clock.Now()
	if list.done == nil {
		if r.late(now) {
			return r.relist(ctx), nil
		}
		return list, nil
	}
	switch waited := now.Sub(list.since); {
	case waited > r.relistWithin():
		r.relistsFail = true
		r.Reconnect()
		return nil, errNoList
	case waited > listPatience && r.fence.waits():
		r.complain(notServing, errListing)
	}
	return list, nil
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// register makes the Lease, or renews the one there is. It does not open the fence.
//
// Model: step Register.
func (r *Replica) register(ctx context.Context) error {
	sent := r.Clock.Now()
	lease, err := r.patch(ctx, sent, r.answerWithin())
	if apierrors.IsNotFound(err) {
		r.registered = true // even if the answer does not come
		sent = r.Clock.Now()
		lease, err = r.create(ctx, sent)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		r.unanswered++
		r.Reconnect()
	}
	if err != nil {
		return err
	}
	r.unanswered = 0
	r.registered = true
	r.fence.start(sent.Add(r.fenceAfter()))
	r.obey(lease, sent)
	return nil
}

// listing is a list of the store that was asked for.
type listing struct {
	done  chan struct{} // nil once it has been noticed
	since time.Time
	asked string // what the controller waited for when it was asked for
}

// relist lets the store list anew.
//
// Model: step List.
func (r *Replica) relist(ctx context.Context) *listing {
	l := &listing{done: make(chan struct{}), since: r.Clock.Now(), asked: r.nudge.awaited}
	go func() {
		if r.Store.Relist(ctx) == nil {
			close(l.done)
		}
	}()
	return l
}

// listed takes note of a list that has been applied. The first one opens the fence.
func (r *Replica) listed(l *listing) error {
	r.nudge.answer(l.asked)
	opening := r.fence.waits()
	if !r.fence.open(r.Clock.Now()) {
		return errLapsed
	}
	if opening {
		r.complaint = ""
		r.Logger.Info("serving: registered, and all keys and profiles are loaded",
			"lease", r.Name, "after", r.Clock.Since(l.since).Round(time.Millisecond).String())
	}
	return nil
}

// late tells whether it is time to take the watches for broken.
func (r *Replica) late(now time.Time) bool {
	if since := r.nudge.since; !since.IsZero() && now.Sub(since) >= obeyAfter {
		r.Logger.Warn("the controller waits for this replica: listing anew", "lease", r.Name, "awaited", r.nudge.awaited)
		return true
	}
	if silent := now.Sub(r.Store.Heard()); silent > silentFor {
		r.Logger.Warn(
			"a watch has been silent for too long: listing anew",
			"lease",
			r.Name,
			"silent",
			silent.Round(time.Second).String(),
		)
		return true
	}
	return false
}

// renew tells the cluster what the store has applied, and puts the fence's deadline off. It returns when to renew
// again: a renewal that merely failed is soon tried again, until the deadline. The error ends this replica's hold of
// the Lease.
//
// Model: step Renew.
func (r *Replica) renew(ctx context.Context) (time.Duration, error) {
	sent := r.Clock.Now()
	lease, err := r.patch(ctx, sent, min(r.answerWithin(), r.fence.left(sent)))
	switch now := r.Clock.Now(); {
	case apierrors.IsNotFound(err):
		return 0, errDeleted
	case err == nil && r.fence.extend(sent.Add(r.fenceAfter()), now):
		r.obey(lease, now)
		return r.renewEvery(), nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err == nil, r.fence.left(now) <= 0:
		r.Reconnect()
		if err != nil {
			return 0, fmt.Errorf("%w (%w)", errLapsed, err)
		}
		return 0, errLapsed
	case errors.Is(err, context.DeadlineExceeded):
		r.Reconnect()
	}
	r.complain(notRenewing, err)
	return min(retryEvery, r.fence.left(r.Clock.Now())), nil
}

// patch writes the renewal. Applied is read before it is sent, never after.
//
// Model: step Publish.
func (r *Replica) patch(ctx context.Context, now time.Time, within time.Duration) (*coordinationv1.Lease, error) {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"labels": r.labels(), "annotations": r.annotations()},
		"spec":     r.spec(now),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the Lease: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return r.Leases.Patch(ctx, r.Name, types.MergePatchType, body, metav1.PatchOptions{})
}

func (r *Replica) create(ctx context.Context, now time.Time) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, r.answerWithin())
	defer cancel()
	return r.Leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name:        r.Name,
			Labels:      r.labels(),
			Annotations: r.annotations(),
		},
		Spec: r.spec(now),
	}, metav1.CreateOptions{})
}

// labels are written with every renewal: without them, the Lease is nobody's to the controller.
func (r *Replica) labels() map[string]string {
	return map[string]string{v1alpha1.LabelReplica: string(r.Environment), v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
}

func (r *Replica) annotations() map[string]string {
	resourceVersion, revoked := r.Store.Applied(MaxNamed)
	return map[string]string{
		v1alpha1.AnnotationApplied: resourceVersion,
		v1alpha1.AnnotationRevoked: encodeRevoked(revoked),
	}
}

// spec is what stands on every Lease. The time on it is for people: nobody compares it with a clock.
func (r *Replica) spec(now time.Time) coordinationv1.LeaseSpec {
	seconds := int32(r.Duration / time.Second)
	renewed := metav1.NewMicroTime(now)
	return coordinationv1.LeaseSpec{HolderIdentity: &r.Holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}
}

// leave gives the Lease up, so that no deletion waits for it to expire.
//
// Model: step Leave.
func (r *Replica) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.answerWithin())
	defer cancel()
	if err := r.Leases.Delete(ctx, r.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		r.Logger.Warn("the Lease was left to expire: deletions wait for it", "lease", r.Name, "error", err.Error())
	}
}

// pause waits for d, or for the end of ctx.
func (r *Replica) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-r.Clock.After(d):
	}
}

// nudge is what the controller waits for, as this replica last read it on its Lease.
type nudge struct {
	awaited  string
	since    time.Time // when something was first awaited that no list has answered; zero: nothing is
	answered string    // what was awaited when the last list was asked for
}

// obey takes in what the controller waits for. A list is consistent, so one is enough for whatever was awaited when it
// was asked for: a controller that never comes back to take its word off the Lease does no harm.
//
// Model: step Obey.
func (r *Replica) obey(l *coordinationv1.Lease, now time.Time) {
	n := &r.nudge
	n.awaited = announcementOn(l).awaited
	switch {
	case n.awaited == "" || n.awaited == n.answered:
		n.since = time.Time{}
	case n.since.IsZero():
		n.since = now
	}
}

// answer notes that a list has been applied that was asked for while that was awaited.
func (n *nudge) answer(awaited string) {
	n.answered = awaited
	n.since = time.Time{}
}
