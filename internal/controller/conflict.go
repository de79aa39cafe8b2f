// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// inTheWay is a Secret of the wanted name that is not the key's, and whose it is. A minted Secret is the only copy of
// its key: nobody is advised to delete one whose ApiKey lives. It says what was seen at one moment; by the time that
// somebody reads it, the Secret may be gone.
type inTheWay struct {
	secret *corev1.Secret
	reason error            // why it is not the key's
	owner  *v1alpha1.ApiKey // that controls it, if that one is still there
	holder *v1alpha1.ApiKey // whose key is in it, if that one is still there
}

// look finds out whose a Secret is that is in k's way. It goes by the cache: if that is behind, it is said in a moment.
// What it finds decides when to look again, and nothing else.
func (r *apiKeys) look(ctx context.Context, s *corev1.Secret, reason error) (w inTheWay, err error) {
	w = inTheWay{secret: s, reason: reason}
	if ref := apiKeyControlling(s); ref != nil {
		owner := new(v1alpha1.ApiKey)
		err := r.client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: ref.Name}, owner)
		if client.IgnoreNotFound(err) != nil {
			return w, fmt.Errorf("get ApiKey %s: %w", ref.Name, err)
		}
		if !apierrors.IsNotFound(err) && owner.UID == ref.UID {
			w.owner = owner
		}
	}
	w.holder, err = r.holderOfKeyIn(ctx, s)
	return w, err
}

// apiKeyControlling returns the reference to the ApiKey that controls s; nil: none does. Whoever may write Secrets may
// write such a reference too, so what it names is looked for by name and UID.
func apiKeyControlling(s *corev1.Secret) *metav1.OwnerReference {
	ref := metav1.GetControllerOfNoCopy(s)
	if ref == nil || ref.Kind != "ApiKey" || ref.APIVersion != v1alpha1.GroupVersion.String() {
		return nil
	}
	return ref
}

// holderOfKeyIn returns the ApiKey that has the key in s. What s says of its owner does not count: somebody may have
// copied it, or taken the reference off.
func (r *apiKeys) holderOfKeyIn(ctx context.Context, s *corev1.Secret) (*v1alpha1.ApiKey, error) {
	plaintext := string(s.Data[v1alpha1.SecretKeyAPIKey])
	// A checksum costs less than a hash, and sorts out all that was never a key.
	if _, err := r.Format.Parse(plaintext); err != nil {
		return nil, nil
	}
	keys, err := r.at(ctx, place{s.Namespace, key.DigestOf(plaintext).Lookup()})
	// The lookup is not enough: another ApiKey may have brought it with a second half of its own.
	for i := range keys {
		if isHashedTo(&keys[i], plaintext) {
			return &keys[i], nil
		}
	}
	return nil, err
}

// tell says what the Secret means for the ApiKey that wants its name: its state, what it is, and what to do. It is
// pure.
func (w inTheWay) tell() (state secretState, detail, advice string) {
	const otherName = "create an ApiKey with another secretName"
	detail = w.reason.Error()
	ref := metav1.GetControllerOfNoCopy(w.secret)
	// Who needs the Secret comes first, whoever controls it: it may be the only copy of a key in use.
	switch {
	case w.holder != nil:
		return secretConflict, detail + ": it holds the key of ApiKey " + w.holder.Name, otherName
	case w.owner != nil && !errors.Is(w.reason, keysecret.ErrMalformed):
		return secretConflict, detail + ": it is that of ApiKey " + w.owner.Name, otherName
	// The garbage collector deletes what is controlled by an object that is gone, so this passes by itself.
	case apiKeyControlling(w.secret) != nil && w.owner == nil:
		return secretLeaving, detail, ""
	case ref != nil && w.owner == nil:
		return secretConflict, fmt.Sprintf("%s: it is controlled by %s %s", detail, ref.Kind, ref.Name), otherName
	case w.secret.Type == v1alpha1.SecretType && w.owner == nil:
		return secretConflict, detail + ": it was minted for an ApiKey that is gone, and was left behind by " +
				"--cascade=orphan or a restore. No ApiKey here has its key",
			"delete it, and a new key is minted; or " + otherName
	default:
		return secretConflict, detail, "delete it if nobody needs it, or " + otherName
	}
}

// conflictSince is when the Secret of a key was found to be another's; now, if it has just been.
func conflictSince(k *v1alpha1.ApiKey, now time.Time) time.Time {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != v1alpha1.ReasonSecretConflict {
		return now
	}
	return ready.LastTransitionTime.Time
}
