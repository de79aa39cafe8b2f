// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// An error that the apiserver answers with may last, and whoever waits is told why: by a condition, and by an event
// where there can be none.

// answer is an error of the apiserver's in words that may be shown.
type answer string

func (a answer) Error() string { return string(a) }

// answerOf tells whether an error is what the apiserver has answered, and what that was: a webhook that it can't reach,
// a permission that is missing. Such an error may last, and status says so. One without an answer, such as a broken
// connection, keeps status from being written as well.
func answerOf(err error) (text string, answered bool) {
	var status apierrors.APIStatus
	var ours answer
	if apierrors.IsConflict(err) || !errors.As(err, &status) && !errors.As(err, &ours) {
		return "", false // a conflict passes by itself
	}
	return err.Error(), true
}

// triedAgain ends what is told of a failure. retries sees to it.
const triedAgain = ". It is tried again within half a minute"

// tellAgain is the least time between two events about one object from statusWriter.tell. The two must not be taken for
// a series, which the event broadcaster does for about ten minutes: it takes a patch of the first event, and the
// controller may only create events.
const tellAgain = 30 * time.Minute

// statusWriter writes status, of objects of any kind, and tells of what status can't say.
type statusWriter struct {
	client client.Client
	events events.EventRecorder
	clock  clock.PassiveClock

	// Reconciles of all workers come here at once. told is when each object was told of. It is emptied when it has
	// mostRemembered, which costs an event too many.
	mu   sync.Mutex
	told map[types.UID]time.Time
}

// write makes updated's status that of old, which is the object as it was looked at: if anything has changed since,
// what was derived may be wrong, and the error is a conflict. Conditions are a list, which a merge patch writes as a
// whole: without the resourceVersion it would also undo what others have written.
//
// A refusal, as by a webhook on the status, is told of by an event: the status goes on saying what was true before.
func (s *statusWriter) write(ctx context.Context, old, updated client.Object) error {
	patch := client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})
	err := s.client.Status().Patch(ctx, updated, patch, client.FieldOwner(Name))
	if err == nil {
		return nil
	}
	err = fmt.Errorf("patch status: %w", err)
	if !apierrors.IsNotFound(err) { // what is gone has no status that anybody reads
		s.tell(old, err)
	}
	return err
}

// tell tells of a failure that no condition of o has as its reason, if it is an answer of the apiserver's. It says
// little when there is more than one: the log has all of them.
func (s *statusWriter) tell(o client.Object, failure error) {
	text, answered := answerOf(failure)
	if !answered || !s.due(o.GetUID()) {
		return
	}
	s.events.Eventf(o, nil, corev1.EventTypeWarning, v1alpha1.ReasonRetrying, "Retry", "%s", bounded(text+triedAgain))
}

// due tells whether an object has not been told of for long enough, and takes it for told of if so.
func (s *statusWriter) due(id types.UID) bool {
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, before := s.told[id]; before && now.Sub(at) < tellAgain {
		return false
	}
	if s.told == nil || len(s.told) >= mostRemembered {
		s.told = map[types.UID]time.Time{}
	}
	s.told[id] = now
	return true
}
