// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// findings are what one reconcile found out or did. Status is derived from them, and from nothing else.
type findings struct {
	key     *v1alpha1.ApiKey
	profile *v1alpha1.Profile // that key's profileRef names; nil if there is none
	gone    bool              // the key went meanwhile: there is nothing to say of it

	given  *given // the hash that was given to the key in this reconcile
	rival  bool   // the hash is another key's by right
	secret secretState
	detail string // for people: what the apiserver said; no key material
}

// given is what makes a key exist.
type given struct {
	hash           key.Hash
	hint           string
	organizationID string
}

// secretState is what is known of the minted Secret.
type secretState int

const (
	secretUnknown   secretState = iota // not looked at in this reconcile
	secretAvailable                    // there, with the key in it
	secretDeleted
	secretMismatch // a Secret of that name that does not hold this key
	secretConflict // before minting: a Secret of that name that is not ours
	secretLeaving  // before minting: one that the garbage collector is about to delete
	secretRejected // the apiserver refused it
)

// give gives the key its hash: its own, if it brings one, or that of a newly minted secret.
func (r *apiKeys) give(ctx context.Context, found findings) (findings, error) {
	if err := r.refresh(ctx, &found); err != nil || found.gone {
		return found, err
	}
	state := lifecycle.Of(lifecycle.KeyOf(found.key), lifecycle.ProfileOf(found.profile), r.Clock.Now())
	if state.Reason != v1alpha1.ReasonPending {
		return found, nil
	}
	id, err := organizationID(ctx, r.live, found.key.Namespace)
	if apierrors.IsNotFound(err) {
		found.gone = true
		return found, nil
	}
	if err != nil {
		return found, err
	}
	if err := r.protect(ctx, &found); err != nil || found.gone {
		return found, err
	}
	g, err := r.obtain(ctx, &found)
	if err != nil || g == nil {
		return found, err
	}
	g.organizationID = id
	if found.rival, err = r.hasRival(ctx, found.key, g.hash); err != nil || found.rival {
		return found, err
	}
	found.given = g
	return found, nil
}

// refresh reads the key and its Profile live. The cache may be behind: the key may have been given its hash already and
// its Secret deleted since, which must not make a second one; or the Profile may have been made again, and the key
// would be bound to the one that is gone.
func (r *apiKeys) refresh(ctx context.Context, found *findings) error {
	k := new(v1alpha1.ApiKey)
	err := r.live.Get(ctx, client.ObjectKeyFromObject(found.key), k)
	switch {
	case apierrors.IsNotFound(err):
		found.gone = true
		return nil
	case err != nil:
		return fmt.Errorf("get ApiKey: %w", err)
	case k.UID != found.key.UID || !k.DeletionTimestamp.IsZero():
		found.gone = true
		return nil
	}
	found.key = k
	found.profile, err = profileOf(ctx, r.live, k)
	return err
}

// protect puts the finalizer on the key, before anything is made that could be served: from then on the key can't go
// without the barrier's word.
//
// Model: step Protect.
func (r *apiKeys) protect(ctx context.Context, found *findings) error {
	k := found.key.DeepCopy()
	if !controllerutil.AddFinalizer(k, v1alpha1.FinalizerRevocation) {
		return nil
	}
	patch := client.MergeFromWithOptions(found.key, client.MergeFromWithOptimisticLock{})
	err := r.client.Patch(ctx, k, patch, client.FieldOwner(Name))
	if apierrors.IsNotFound(err) {
		found.gone = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("put the finalizer on: %w", err)
	}
	found.key = k
	return nil
}

// obtain returns what makes the key exist; nil if it can't be had, for a reason that found says.
func (r *apiKeys) obtain(ctx context.Context, found *findings) (*given, error) {
	k := found.key
	if k.Spec.SecretHash != "" {
		hash, err := key.ParseHash(k.Spec.SecretHash)
		return &given{hash: hash, hint: r.Format.Prefix(key.Environment(k.Spec.Environment)) + "…"}, err
	}
	plaintext, err := r.mint(ctx, found)
	if err != nil || found.secret != secretAvailable {
		return nil, err
	}
	return &given{hash: key.HashOf(plaintext), hint: r.Format.Hint(plaintext)}, nil
}

// mint returns the plaintext of the key, which is in its Secret when secretAvailable has been found.
//
// Creating the Secret is what makes it happen once: whoever comes second, be it this controller after a crash or one
// that has lost its leadership, is told AlreadyExists and takes what is there.
func (r *apiKeys) mint(ctx context.Context, found *findings) (plaintext string, err error) {
	ctx, span := tracing.Child(ctx, "mint")
	defer func() { tracing.End(span, err) }()
	k := found.key
	plaintext, err = r.Format.Mint(r.Random, key.Environment(k.Spec.Environment))
	if err != nil {
		return "", err
	}
	err = r.client.Create(ctx, keysecret.Encode(k, plaintext, r.BaseURLs[k.Spec.Environment]))
	switch {
	case err == nil:
		found.secret = secretAvailable
		return plaintext, nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, found)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		found.gone = true
		return "", nil
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		// An admission policy or webhook may quote what it was shown.
		found.secret, found.detail = secretRejected, key.Redact(err.Error(), plaintext)
		return "", nil
	default:
		return "", errors.New("create Secret: " + key.Redact(err.Error(), plaintext))
	}
}

// adopt returns the key in a Secret that exists already, if an earlier life of this controller put it there for this
// very ApiKey.
func (r *apiKeys) adopt(ctx context.Context, found *findings) (string, error) {
	s := new(corev1.Secret)
	name := client.ObjectKey{Namespace: found.key.Namespace, Name: found.key.SecretName()}
	if err := r.live.Get(ctx, name, s); err != nil {
		return "", fmt.Errorf("get Secret %s: %w", name.Name, err)
	}
	plaintext, err := keysecret.Decode(found.key, s, r.Format)
	switch {
	case err == nil:
		found.secret = secretAvailable
	case errors.Is(err, keysecret.ErrPreviousOwner):
		found.secret, found.detail = secretLeaving, err.Error()
	default:
		found.secret, found.detail = secretConflict, err.Error()
	}
	return plaintext, nil
}

// inspect looks whether the Secret of a served key is still there, and whether the key is its hash's rightful one.
func (r *apiKeys) inspect(ctx context.Context, found findings) (findings, error) {
	// Somebody may have taken it off, or the key is older than the finalizer.
	if err := r.protect(ctx, &found); err != nil || found.gone {
		return found, err
	}
	hash, err := key.ParseHash(found.key.Status.Hash)
	if err != nil {
		return found, fmt.Errorf("status.hash: %w", err)
	}
	if found.rival, err = r.hasRival(ctx, found.key, hash); err != nil || found.rival {
		return found, err
	}
	if found.key.SecretName() == "" {
		return found, nil
	}
	s := new(corev1.Secret)
	err = r.live.Get(ctx, client.ObjectKey{Namespace: found.key.Namespace, Name: found.key.SecretName()}, s)
	if apierrors.IsNotFound(err) {
		found.secret = secretDeleted
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("get Secret %s: %w", found.key.SecretName(), err)
	}
	found.secret = secretMismatch
	if plaintext, err := keysecret.Decode(found.key, s, r.Format); err == nil && key.HashOf(plaintext) == hash {
		found.secret = secretAvailable
	}
	return found, nil
}

// organizationID is the UID of a namespace. It is read live: a namespace may have been deleted and made again under its
// name, and the cache not know it yet.
func organizationID(ctx context.Context, live client.Reader, namespace string) (string, error) {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := live.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
		return "", fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	return string(ns.UID), nil
}
