// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// writeStatus is the one place where the status of an ApiKey that is not being deleted is written: derive, compare,
// patch, tell. With a second place, Ready would have to be right in both.
//
// Model: step Hash.
func (r *apiKeys) writeStatus(ctx context.Context, found findings) (lifecycle.State, error) {
	old, now := found.key, r.Clock.Now()
	updated := old.DeepCopy()
	state := derive(updated, found, now)
	if equality.Semantic.DeepEqual(old.Status, updated.Status) {
		return state, nil
	}
	if err := r.status.write(ctx, old, updated); apierrors.IsNotFound(err) {
		return lifecycle.State{}, nil // the key is gone, and nobody reads its status any more
	} else if err != nil {
		return state, err
	}
	// After the write, and only then: an event about a status that was not written would be repeated by the next try.
	r.announce(ctx, old, updated)
	if found.failure != "" && !retrying(updated) {
		r.status.tell(updated, answer(found.failure))
	}
	return state, nil
}

// retrying tells whether a condition of k has a failure as its reason.
func retrying(k *v1alpha1.ApiKey) bool {
	return slices.ContainsFunc(k.Status.Conditions, func(c metav1.Condition) bool {
		return c.Reason == v1alpha1.ReasonRetrying
	})
}

// derive makes k's status of what was found. It is pure. Ready is derived anew each time, from lifecycle.Of, and never
// carried over: the API decides by the same function, and so the two can't tell users different things.
func derive(k *v1alpha1.ApiKey, found findings, now time.Time) lifecycle.State {
	status := &k.Status
	status.ObservedGeneration = k.Generation
	if found.assigned != nil {
		writeOnce(k, found, now.UTC().Truncate(time.Second)) // as it comes back from the apiserver
	}
	life := lifecycle.KeyOf(k)
	life.Leaked = found.leaked
	switch {
	case found.assigned != nil:
		life.Duplicate = false // Ready may still say so, of the time when it waited
	case life.Hashed && found.rival != nil:
		life.Duplicate = true // final: from now on KeyOf reads it from Ready
	}
	state := lifecycle.Of(life, lifecycle.ProfileOf(found.profile), now)

	deriveLeaked(k, found, now)
	ready, available := readyOf(k, found, state), secretAvailableOf(k, found, state)
	// Ready keeps its reason then, by which others go, and which may be final.
	if found.failure != "" && ready.Reason != v1alpha1.ReasonRetrying && available.Reason != v1alpha1.ReasonRetrying {
		ready.Message += ". " + found.failure + triedAgain
	}
	setCondition(&status.Conditions, k.Generation, now, ready)
	deriveSecretAvailable(k, available, ready, now)
	// As in kstatus, which GitOps tools go by, Stalled is there only while it is True.
	if stalled(ready.Reason, life) {
		setCondition(&status.Conditions, k.Generation, now, metav1.Condition{
			Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: ready.Reason, Message: ready.Message,
		})
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
	return state
}

// deriveSecretAvailable says what there is to say of the Secret. Of a key that is not served nothing is found out any
// more, so that a failure to do so would be told of for ever.
func deriveSecretAvailable(k *v1alpha1.ApiKey, c, ready metav1.Condition, now time.Time) {
	was := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionSecretAvailable)
	switch {
	case c.Type != "":
		setCondition(&k.Status.Conditions, k.Generation, now, c)
	case ready.Status != metav1.ConditionTrue && was != nil && was.Reason == v1alpha1.ReasonRetrying:
		meta.RemoveStatusCondition(&k.Status.Conditions, v1alpha1.ConditionSecretAvailable)
	}
}

// deriveLeaked says of a key that has leaked and stays that the replicas are awaited; revocations takes that back when
// all have confirmed that they refuse it. A leak that is forgiven waits for nobody.
func deriveLeaked(k *v1alpha1.ApiKey, found findings, now time.Time) {
	was := readyReason(k) == v1alpha1.ReasonLeaked
	switch {
	case found.leaked && !was && k.Status.Hash != "":
		setCondition(&k.Status.Conditions, k.Generation, now, metav1.Condition{
			Type: v1alpha1.ConditionRevoking, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAwaitingReplicas,
			Message: "Waiting for the API replicas to confirm that they refuse the key",
		})
	case was && !found.leaked:
		meta.RemoveStatusCondition(&k.Status.Conditions, v1alpha1.ConditionRevoking)
	}
}

// writeOnce sets the fields that make the key exist and say what it opens. The schema refuses any later change of them.
// All in one write: a hash without its organization or its Profile would be a key that is served with less than its
// limits.
func writeOnce(k *v1alpha1.ApiKey, found findings, now time.Time) {
	status, assigned := &k.Status, found.assigned
	status.Hash, status.Hint, status.OrganizationID = assigned.hash.String(), assigned.hint, assigned.organizationID
	status.MintedAt = &metav1.Time{Time: now}
	if found.profile != nil {
		status.ProfileID = string(found.profile.UID)
	}
	if name := k.SecretName(); name != "" {
		status.Binding = &v1alpha1.Binding{Name: name}
	}
	var wanted *time.Time
	if k.Spec.ExpiresAt != nil {
		wanted = &k.Spec.ExpiresAt.Time
	}
	if at := lifecycle.Expiry(wanted, found.profile, now); at != nil {
		status.ExpiresAt = &metav1.Time{Time: at.Truncate(time.Second)} // as it comes back from the apiserver
	}
}

// stalled tells whether a person has to act: nothing will change by itself.
func stalled(reason string, life lifecycle.Key) bool {
	switch reason {
	case v1alpha1.ReasonDuplicateHash, v1alpha1.ReasonExpired, v1alpha1.ReasonLeaked,
		v1alpha1.ReasonSecretConflict, v1alpha1.ReasonSecretRejected, v1alpha1.ReasonQuotaReached:
		return true
	case v1alpha1.ReasonProfileNotFound:
		return life.Hashed // one that was never bound waits for its Profile
	default:
		return false
	}
}

// readyOf says in words what state means for k. A message says what is to be done, if anything is. Reasons are an
// interface (api/v1alpha1), and messages are not.
func readyOf(k *v1alpha1.ApiKey, found findings, state lifecycle.State) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: state.Reason}
	switch state.Reason {
	case v1alpha1.ReasonActive:
		c.Status, c.Message = metav1.ConditionTrue, "The key is served"
		if found.unnoted != nil {
			c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonRetrying
			c.Message = "Somebody who has this key has reported it as leaked: it is refused where that was said, " +
				"and everywhere once there is a LeakedKey. " + found.failure + triedAgain
		}
	case v1alpha1.ReasonExpired:
		c.Message = "The key has expired and is refused. Create a new ApiKey and delete this one"
	case v1alpha1.ReasonLeaked:
		c.Message = "Somebody who has this key has reported it as leaked: it is refused, in any namespace and for good. " +
			"Create a new ApiKey with another key, move its users over, and take this one out of where it is applied from"
	case v1alpha1.ReasonDuplicateHash:
		c.Message = "Another ApiKey of this namespace had this key first. This one is refused for good. " +
			"Create a new ApiKey with another key and delete this one"
	case v1alpha1.ReasonProfileNotFound:
		c.Message = fmt.Sprintf("Waiting for Profile %s: it does not exist, or is being deleted", k.Spec.ProfileRef.Name)
		if k.Status.Hash != "" {
			c.Message = fmt.Sprintf("Profile %s, with the UID %s that this key is bound to, is gone. "+
				"Create a new ApiKey and delete this one", k.Spec.ProfileRef.Name, k.Status.ProfileID)
		}
	default:
		pendingBecause(&c, k, found)
	}
	return c
}

// pendingBecause explains why a key that could have been minted was not. Only what a person has to clear away is False;
// what passes by itself leaves Ready Unknown, so that a tool which waits for it goes on waiting. A rival comes first:
// as long as there is one, nothing about the Secret would change anything.
func pendingBecause(c *metav1.Condition, k *v1alpha1.ApiKey, found findings) {
	switch rival := found.rival; {
	case rival == nil:
	case rival.leaving:
		c.Status = metav1.ConditionUnknown
		c.Message = fmt.Sprintf("Waiting for ApiKey %s, which has this key and is being deleted, to be gone", rival.name)
		return
	default:
		c.Reason = v1alpha1.ReasonDuplicateHash
		c.Message = fmt.Sprintf("ApiKey %s has this key. This one takes it over when that one is deleted; "+
			"if the key is to be revoked, delete both", rival.name)
		return
	}
	if found.crowded {
		c.Reason, c.Message = v1alpha1.ReasonQuotaReached, crowdedBecause(found)
		return
	}
	switch found.secret {
	case secretConflict:
		c.Reason = v1alpha1.ReasonSecretConflict
		c.Message = fmt.Sprintf("Secret %s exists already and is %s. It is left as it is: %s",
			k.SecretName(), found.detail, found.advice)
	case secretRejected:
		c.Reason, c.Message = v1alpha1.ReasonSecretRejected, "The apiserver refused the Secret: "+found.detail
	case secretReserved:
		c.Reason = v1alpha1.ReasonSecretRejected
		c.Message = fmt.Sprintf("No Secret %s is minted: %s, in a new ApiKey, and delete this one",
			k.SecretName(), found.detail)
	case secretLeaving:
		c.Status = metav1.ConditionUnknown
		c.Message = fmt.Sprintf("Waiting for Secret %s to be garbage collected: it is %s", k.SecretName(), found.detail)
	default:
		c.Status, c.Message = metav1.ConditionUnknown, "Waiting for the controller"
		if found.failure != "" {
			c.Reason, c.Message = v1alpha1.ReasonRetrying, found.failure+triedAgain
		}
	}
}

// crowdedBecause says what takes the places. Those of keys that have leaked are told of only where there are any:
// nobody gets them back by deleting an ApiKey.
func crowdedBecause(found findings) string {
	leaked := ""
	if found.leaks > 0 {
		leaked = fmt.Sprintf(", and %d that have leaked, which keep their places", found.leaks)
	}
	return fmt.Sprintf("The namespace has as many keys as it may: %d keys, those that have expired among them%s. "+
		"This one is minted when another is deleted. "+
		"Whoever runs letmepost can allow more: --max-organization-keys, of the controller and the API", found.quota, leaked)
}

// apart ends what is said of a Secret. It stays true if the key is refused later: nobody looks at its Secret then.
const apart = ". Whether the key is served does not depend on it"

// secretAvailableOf is the zero condition when there is nothing new to say. A Secret that is lost or changed does not
// make the key's Ready False: what is served is the hash in status. A key that was brought has no Secret, and so never
// this condition.
func secretAvailableOf(k *v1alpha1.ApiKey, found findings, state lifecycle.State) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionSecretAvailable, Status: metav1.ConditionFalse}
	switch found.secret {
	case secretAvailable:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonSecretCreated
		c.Message = "Secret " + k.SecretName() + " holds the key"
	case secretDeleted:
		c.Reason = v1alpha1.ReasonSecretDeleted
		c.Message = "Secret " + k.SecretName() + " is gone, and is not made again" + apart
	case secretMismatch:
		c.Reason = v1alpha1.ReasonSecretMismatch
		c.Message = "Secret " + k.SecretName() + " does not hold this key" + apart
	default:
		// Of a key that may be refused, Ready has to tell it.
		if found.failure == "" || !state.Served() || found.unnoted != nil || k.SecretName() == "" {
			return metav1.Condition{}
		}
		c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonRetrying
		c.Message = found.failure + apart
	}
	return c
}

// setCondition sets c. The time of the last transition is kept if only reason or message have changed, as the API
// conventions ask for; but not the year 1970, with which the schema fills in what nobody has written yet.
func setCondition(conditions *[]metav1.Condition, generation int64, now time.Time, c metav1.Condition) {
	if was := meta.FindStatusCondition(*conditions, c.Type); was != nil && was.LastTransitionTime.Unix() <= 0 {
		was.LastTransitionTime = metav1.NewTime(now)
	}
	c.ObservedGeneration = generation
	c.LastTransitionTime = metav1.NewTime(now)
	c.Message = bounded(c.Message)
	meta.SetStatusCondition(conditions, c)
}

// bounded keeps a message within what an event may hold (1,024 bytes), which is less than a condition may. The answer
// of an admission webhook may be of any length, and an event that is too long is not written at all.
func bounded(message string) string {
	const most, ellipsis = 1024, "…"
	if len(message) <= most {
		return message
	}
	// A character that was cut in two is left out: JSON has no such thing.
	return strings.ToValidUTF8(message[:most-len(ellipsis)], "") + ellipsis
}

// announce tells users, by events, and operators, by the log, what has changed. It says nothing when nothing has: each
// key is looked at over and over, and events that repeat drown those that don't.
func (r *apiKeys) announce(ctx context.Context, old, updated *v1alpha1.ApiKey) {
	log := ctrl.LoggerFrom(ctx)
	if old.Status.Hash == "" && updated.Status.Hash != "" {
		auditor{r.Audit}.created(updated)
		if name := updated.SecretName(); name != "" {
			r.events.Eventf(updated, nil, corev1.EventTypeNormal, "Minted", "Mint",
				"Minted %s into Secret %s", updated.Status.Hint, name)
		} else {
			r.events.Eventf(updated, nil, corev1.EventTypeNormal, "HashTaken", "TakeHash",
				"Took over the hash of a key brought along")
		}
	}
	// Only what has become False, or fails: that a key is served is what everybody expects.
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSecretAvailable} {
		was := meta.FindStatusCondition(old.Status.Conditions, kind)
		is := meta.FindStatusCondition(updated.Status.Conditions, kind)
		// By reason: a message may have a number or a time in it that changes with each look.
		if is == nil || was != nil && was.Reason == is.Reason {
			continue
		}
		if is.Status == metav1.ConditionFalse || is.Reason == v1alpha1.ReasonRetrying {
			log.Info("Condition is "+string(is.Status), "condition", kind, "reason", is.Reason)
			r.events.Eventf(updated, nil, corev1.EventTypeWarning, is.Reason, "Reconcile", "%s", is.Message)
		}
	}
}
