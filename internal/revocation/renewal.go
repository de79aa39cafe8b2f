// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// announceEvery is the least time between two renewals: what happens meanwhile is told by the second. Without it, a
// thousand keys deleted at once would be a thousand writes of each replica.
const announceEvery = 50 * time.Millisecond

// reportEvery is the least time between two renewals for the sake of those who report leaked keys. They wait for one
// whether their key exists or not, so that the time tells them nothing; and anybody may report keys, as fast as they
// like.
const reportEvery = 250 * time.Millisecond

func (r *Replica) fenceAfter() time.Duration { return fenceAfter(r.Duration) }

// renewEvery leaves room for four renewals that fail before the fence shuts.
func (r *Replica) renewEvery() time.Duration { return r.fenceAfter() / 5 }

// answerWithin is how long a write of the Lease may take. Together with renewEvery it is less than F: when an answer
// does not come, there is time for another attempt while the fence is open.
func (r *Replica) answerWithin() time.Duration { return r.Duration / 4 }

// register makes the Lease, or renews the one there is. It does not open the fence: there is still to list.
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

// renew tells the cluster what the store has applied, and puts the fence's deadline off. It returns when to renew
// again: a renewal that merely failed is soon tried again, until the deadline. The error ends this replica's hold of
// the Lease.
//
// The new deadline counts from when the renewal was sent, not from when it was answered: the controller may have seen
// it as early as that, and counts from there.
//
// Model: step Renew.
func (r *Replica) renew(ctx context.Context) (time.Duration, error) {
	sent := r.Clock.Now()
	lease, err := r.patch(ctx, sent, min(r.answerWithin(), r.fence.left(sent)))
	switch now := r.Clock.Now(); {
	case apierrors.IsNotFound(err):
		return 0, errDeleted
	case err == nil && r.fence.extend(sent.Add(r.fenceAfter()), now):
		asked := r.askedFor
		if r.obey(lease, now); r.askedFor != asked && r.askedFor != "" {
			return announceEvery, nil // somebody else's deletion waits for this
		}
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
	r.warn(notRenewing, err)
	return min(retryEvery, r.fence.left(r.Clock.Now())), nil
}

// patch writes the renewal. What the store has applied is read before the renewal is sent, never after: the controller
// takes every word of it for true.
//
// Model: step Publish.
func (r *Replica) patch(ctx context.Context, now time.Time, within time.Duration) (*coordinationv1.Lease, error) {
	annotations, told := r.annotations()
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"labels": r.labels(), "annotations": annotations},
		"spec":     r.spec(now),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the Lease: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	lease, err := r.Leases.Patch(ctx, r.Name, types.MergePatchType, body, metav1.PatchOptions{})
	if err == nil {
		told()
	}
	return lease, err
}

func (r *Replica) create(ctx context.Context, now time.Time) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, r.answerWithin())
	defer cancel()
	annotations, told := r.annotations()
	lease, err := r.Leases.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: r.Name, Labels: r.labels(), Annotations: annotations},
		Spec:       r.spec(now),
	}, metav1.CreateOptions{})
	if err == nil {
		told()
	}
	return lease, err
}

// leave gives the Lease up, so that no deletion waits for it to expire. With a report on it that nobody has settled, it
// is left to expire: the report would go with it, and the key be served on by others.
//
// Model: step Leave.
func (r *Replica) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.answerWithin())
	defer cancel()
	if r.reports() {
		_, err := r.patch(ctx, r.Clock.Now(), r.answerWithin())
		r.Logger.Warn("the Lease was left to expire: leaked keys are reported on it, and deletions wait for it",
			"lease", r.Name, "written", err == nil)
		return
	}
	if err := r.Leases.Delete(ctx, r.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		r.Logger.Warn("the Lease was left to expire: deletions wait for it", "lease", r.Name, "error", err.Error())
	}
}
