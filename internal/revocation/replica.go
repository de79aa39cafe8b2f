// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/retry"
)

// Store is what a replica recognises keys by. authn.Feed is one.
type Store interface {
	// Applied returns the resourceVersion up to which ApiKeys have been applied, "" if none yet; and the keys, at most
	// limit, that carry a deletionTimestamp and FinalizerRevocation and are refused: those of them that are to come first,
	// and then of each organization in turn the oldest deletion. Whatever it returns has been applied before.
	Applied(limit int, first ...types.UID) (resourceVersion string, revoked []types.UID)
	// Canceled returns the keys, at most limit and of each organization in turn the oldest deletion, of which what they
	// had queued was canceled after their ApiKeys said that nobody accepts them (v1alpha1.ReasonAwaitingCancellation).
	Canceled(limit int) []types.UID
	// Changed is sent to when another key is refused because it is being deleted, or has what it had queued canceled.
	Changed() <-chan struct{}
	// Relist throws the watches away and lists anew, consistently. It returns when a list that was sent after the call
	// has been applied, or when ctx ends, with its error.
	Relist(ctx context.Context) error
	// ListTook is how long the last list took by itself, without what failed before it; 0: there was none.
	ListTook() time.Duration
	// Heard is when the apiserver was last heard of, by each of the watches.
	Heard() time.Time
}

// Reports are the leaked keys that the controller is to be told of. leak.Reporter is one.
type Reports interface {
	// Due is sent to when somebody waits to be told that a report stands on the Lease.
	Due() <-chan struct{}
	// Take returns the reports, at most limit, that are to stand on the Lease. told is called once they do.
	Take(limit int) (reports []Report, told func())
}

// Leases are the Leases of the release's namespace, as far as a replica needs them. client-go's LeaseInterface has
// more.
type Leases interface {
	Create(context.Context, *coordinationv1.Lease, metav1.CreateOptions) (*coordinationv1.Lease, error)
	Patch(
		ctx context.Context, name string, pt types.PatchType, data []byte, o metav1.PatchOptions, sub ...string,
	) (*coordinationv1.Lease, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// ReplicaOptions are what a Replica is made of. All are required except where they say otherwise.
type ReplicaOptions struct {
	Leases Leases
	Store  Store
	// Reports of leaked keys. Optional: without it, there are none.
	Reports Reports
	// Name of the Lease. No other process may ever have had it: the Barrier takes one name for one process.
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

// Replica is an API process's end of the barrier. Run is its one goroutine; Serving alone may be called from others.
type Replica struct {
	ReplicaOptions
	fence      *fence
	nudge      nudge
	askedFor   string // the keys that the controller asks for, as last read on the Lease
	registered bool   // there may be a Lease
	unanswered int    // attempts to register, in a row, that nobody has answered
	// relistsFail: the last time this replica held a Lease, it could renew that but not list. Until it can list, it is to
	// hold none: it would hold every deletion up.
	relistsFail bool
	complaint   retry.Complaint
}

// NewReplica returns a Replica that accepts nothing yet: Run makes it.
func NewReplica(o ReplicaOptions) *Replica {
	if o.Reconnect == nil {
		o.Reconnect = func() {}
	}
	return &Replica{
		ReplicaOptions: o, fence: newFence(o.Clock.Now()),
		complaint: retry.Complaint{Every: complainEvery},
	}
}

// Serving tells whether requests may be accepted at this moment. It is for every request to ask, with a clock reading
// of its own, when it comes and before it is answered.
func (r *Replica) Serving(now time.Time) bool { return r.fence.allows(now) }

const (
	// retryEvery is the time between attempts to get a Lease.
	retryEvery = 500 * time.Millisecond
	// unansweredBefore is how many such attempts may go unanswered before the next ones are far between.
	unansweredBefore = 3
	// complainEvery is the time after which the same complaint is logged again, as long as nothing else is wrong.
	complainEvery = 15 * time.Second
)

// Run holds the Lease, and opens and shuts the fence, until ctx ends; then it gives the Lease up. Nothing may be
// accepted from the moment ctx ends: no controller waits for this process any more.
func (r *Replica) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.join(ctx)
		// In this order: a request that comes after Cut must find the fence shut, or nobody would end it.
		r.fence.shut()
		r.Cut()
		if ctx.Err() == nil {
			r.warn(notServing, err)
			r.pause(ctx, r.retryAfter())
		}
	}
	if r.registered {
		r.leave(context.WithoutCancel(ctx))
	}
}

// pause waits for d, or for the end of ctx, on the Replica's clock, which retry.Pause would not ask.
func (r *Replica) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-r.Clock.After(d):
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

// What warn says before the reason.
const (
	notServing  = "not serving, trying on: "
	notRenewing = "the Lease could not be renewed, trying on: "
)

// warn logs what is wrong and why, when that changes and every now and then: an apiserver that is away for an hour must
// not fill the log.
func (r *Replica) warn(what string, err error) {
	if text := what + err.Error(); r.complaint.Due(text, r.Clock.Now()) {
		r.Logger.Warn(text, "lease", r.Name)
	}
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
	ctx, cancel := context.WithCancel(ctx) // of the lists that are still under way when the Lease is lost
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
	var reported <-chan struct{}
	if r.Reports != nil {
		reported = r.Reports.Due()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C():
		case <-r.Store.Changed():
			due = sooner(due, last.Add(announceEvery))
		case <-reported:
			due = sooner(due, last.Add(reportEvery))
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

// reports tells whether there is a leaked key that the controller has not taken note of.
func (r *Replica) reports() bool {
	if r.Reports == nil {
		return false
	}
	reports, _ := r.Reports.Take(1)
	return len(reports) > 0
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
