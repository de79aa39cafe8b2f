// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// stateOf is what a key may do now, in one word: the reason of Ready, but for what is newer than the controller's last
// look at the key.
//
// A deletion shows before the controller has written a word of it, and an expiry when its time has come by this
// machine's clock: the API goes by both without waiting for the controller, and so does what people are shown. With the
// zero now, nothing has expired.
func stateOf(k *v1alpha1.ApiKey, now time.Time) string {
	reason := v1alpha1.ReasonPending
	if ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		reason = ready.Reason
	}
	switch {
	case !k.DeletionTimestamp.IsZero() && reason != v1alpha1.ReasonRevoked && reason != v1alpha1.ReasonUnconfirmed:
		return v1alpha1.ReasonRevoking
	case reason == v1alpha1.ReasonActive && expired(k, now):
		return v1alpha1.ReasonExpired
	default:
		return reason
	}
}

// expired tells whether the end of k has come. At the end itself it has: from then on the key is refused.
func expired(k *v1alpha1.ApiKey, now time.Time) bool {
	end := expiryOf(k)
	return !end.IsZero() && !now.Before(end)
}

// expiryOf is when a key ends, or is to end; zero: never.
func expiryOf(k *v1alpha1.ApiKey) time.Time { return lifecycle.KeyOf(k).ExpiresAt }

// isServed tells whether the controller says that the key is served. It is Ready, and not the clock: a command that has
// just asked for a key waits for the word of the controller, after which the replicas may still take a moment to hear
// of it.
func isServed(k *v1alpha1.ApiKey) bool {
	return k.DeletionTimestamp.IsZero() && meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady)
}

// whyUnserved is what the controller says of a key that it does not serve, in one line for a table. Of a key that is
// served, or of which nothing is said, it is none.
func whyUnserved(k *v1alpha1.ApiKey) string {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status == metav1.ConditionTrue || ready.Message == "" {
		return none
	}
	return ready.Message
}

// tellLeaked says what to do about keys that have leaked, which nothing but a person mends.
func (p *plugin) tellLeaked(keys []v1alpha1.ApiKey) {
	for i := range keys {
		if stateOf(&keys[i], p.Clock.Now()) == v1alpha1.ReasonLeaked {
			f := leakedFinding(&keys[i])
			p.tell("%s. What to do: %s", f.what, f.remedy)
		}
	}
}
