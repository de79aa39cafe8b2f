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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// findings are what one reconcile found out or did. Status is derived from them, and from nothing else: what acts does
// not write status, and what writes status does not act.
type findings struct {
	key     *v1alpha1.ApiKey
	profile *v1alpha1.Profile // that key's profileRef names; nil if there is none
	leaked  bool              // there is a LeakedKey of its key
	unnoted error             // why its LeakedKey could not be made, although it is reported as leaked
	gone    bool              // the key went meanwhile: there is nothing to say of it

	assigned *assignment // the hash that the key gets in this reconcile; nil: none
	rival    *rival      // the rightful owner of the hash, if it is another key
	crowded  bool        // the namespace has as many keys as it may,
	quota    int         // which is so many,
	leaks    int         // and so many of them have leaked
	reserved bool        // another key is being given the hash right now: there is nothing to say yet
	secret   secretState
	detail   string // for people: what the apiserver said, or whose the Secret is; no key material
	advice   string // for people: what to do about a Secret that is in the way
	failure  string // for people: why this reconcile has not come to its end; no key material
}

// life is what of the key decides whether it is served. Whether it has leaked is found anew each time: a leak may have
// been forgiven.
func (f findings) life() lifecycle.Key {
	life := lifecycle.KeyOf(f.key)
	life.Leaked = f.leaked
	return life
}

// unsaid tells whether there is nothing to say of the key, and when to look again; 0: never.
func (f findings) unsaid() (again time.Duration, unsaid bool) {
	if f.reserved {
		// The reservation covers a write that is under way, and by the time that it is through there is something to say.
		return shortly, true // it is woken when the other has the hash; this is for one that never gets it
	}
	return 0, f.gone
}

// assignment is what makes a key exist once it stands in status.
type assignment struct {
	hash           key.Hash
	hint           string
	organizationID string
}

// secretState is what this reconcile has found out about the minted Secret.
type secretState int

const (
	// The zero value says nothing of the Secret, so that a reconcile that ended early takes nothing back.
	secretUnknown   secretState = iota // not looked at in this reconcile: its condition stays as it is
	secretAvailable                    // there, with the key in it
	secretDeleted                      // of a key that is served: it is not made again
	secretMismatch                     // a Secret of that name that does not hold this key
	secretConflict                     // before minting: a Secret of that name that is not ours
	secretLeaving                      // before minting: one that the garbage collector is about to delete
	secretRejected                     // the apiserver refused it
	secretReserved                     // before minting: one that other programs would take for theirs
)

// assignHash finds the hash of a key that has none yet: its own, if it brings one, or that of a newly minted secret.
//
// The order is the point. What decides is read from the apiserver, not from the cache. The finalizer is on before there
// is anything that could be served. The Secret comes before the hash: a crash in between leaves a Secret that the next
// reconcile adopts, and never a key whose plaintext nobody has.
func (r *apiKeys) assignHash(ctx context.Context, found findings) (findings, error) {
	// By the cache, which is enough to be refused by: a duplicate is looked at often, and must cost little.
	if err := r.lookForRival(ctx, &found); err != nil || found.rival != nil {
		return found, err
	}
	// Before anything is asked of the apiserver: ten thousand keys for which there is no room must cost little.
	switch r.census.take(found.key) {
	case placeUnknown:
		found.reserved = true // as good as that: it is known in a moment
		return found, nil
	case placeRefused:
		found.crowded, found.quota, found.leaks = true, r.KeyQuota, r.census.leakedOf(found.key.Namespace)
		return found, nil
	}
	found, err := r.assignPlaced(ctx, found)
	// After an error it keeps its place: it is tried again in a moment, and its Secret may be there already.
	if found.assigned == nil && err == nil {
		r.census.giveUp(found.key) // what will not get its hash now keeps nobody from it
	}
	return found, err
}

// assignPlaced is assignHash for a key that has a place among those of its namespace.
func (r *apiKeys) assignPlaced(ctx context.Context, found findings) (findings, error) {
	if err := r.refresh(ctx, &found); err != nil || found.gone {
		return found, err
	}
	// Decided once more, by what the apiserver says: the cache was behind, if this comes out otherwise.
	state := lifecycle.Of(found.life(), lifecycle.ProfileOf(found.profile), r.Clock.Now())
	if state.Reason != v1alpha1.ReasonPending {
		return found, nil
	}
	// Read now and written with the hash: it is what the API tells organizations apart by, and can't be changed later.
	id, err := organizationID(ctx, r.uncached, found.key.Namespace)
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
	return found, r.assign(ctx, &found, id)
}

// assign notes the hash that the key is to get, unless it is another's.
func (r *apiKeys) assign(ctx context.Context, found *findings, organizationID string) error {
	assigned, err := r.bringOrMint(ctx, found, organizationID)
	if err != nil || assigned == nil {
		return err
	}
	// Once more, as the cache may have caught up meanwhile; and then nobody else is given it. Of a minted key too: its
	// Secret may be of an earlier try, after which somebody has brought the same key by its hash.
	if found.rival, err = r.rivalOf(ctx, found.key, assigned.hash.Lookup); err != nil || found.rival != nil {
		return err
	}
	// Of a Secret that an earlier try has made, or that was restored, somebody may have had the key.
	owner := lifecycle.OwnerOf(found.key, organizationID)
	if found.leaked, err = r.isLeaked(ctx, assigned.hash, owner); err != nil || found.leaked {
		return err
	}
	found.reserved = !r.reserved.reserve(placeOf(found.key, assigned.hash.Lookup), holderOf(found.key))
	if !found.reserved {
		found.assigned = assigned
	}
	return nil
}

// lookAgain looks at a Secret that was in the way. Whether it still is takes this one request to see, and not all those
// that minting takes.
func (r *apiKeys) lookAgain(ctx context.Context, found findings) (findings, error) {
	if conflictSince(found.key, time.Time{}).IsZero() {
		return found, nil
	}
	there := found
	if _, err := r.adopt(ctx, &there); apierrors.IsNotFound(err) {
		return found, nil
	} else if err != nil {
		return found, err
	}
	return there, nil
}

// refresh reads the key and its Profile from the apiserver. The cache may be behind: the key may have its hash already
// and its Secret be deleted since, which must not make a second one; or the Profile may have been made again, and the
// key would be bound to the one that is gone.
func (r *apiKeys) refresh(ctx context.Context, found *findings) error {
	k := new(v1alpha1.ApiKey)
	err := r.uncached.Get(ctx, client.ObjectKeyFromObject(found.key), k)
	switch {
	case apierrors.IsNotFound(err):
		found.gone = true
		return nil
	case err != nil:
		return fmt.Errorf("get ApiKey: %w", err)
	case k.UID != found.key.UID || !k.DeletionTimestamp.IsZero(): // another of its name, or revoked before it existed
		found.gone = true
		return nil
	}
	found.key = k
	profile, err := getProfile(ctx, r.uncached, k)
	if err != nil {
		return err // and found.profile stays: it is not known to be gone
	}
	found.profile = profile
	return nil
}

// bringOrMint returns the hash and hint of the key; nil if there can be none yet, for a reason that found says.
func (r *apiKeys) bringOrMint(ctx context.Context, found *findings, organizationID string) (*assignment, error) {
	k, a := found.key, &assignment{organizationID: organizationID}
	if k.Spec.SecretHash != "" {
		hash, err := lifecycle.WantedHash(k)
		a.hash, a.hint = hash, r.Format.HintOf(key.Environment(k.Spec.Environment), "")
		return a, err
	}
	plaintext, err := r.mint(ctx, found)
	if err != nil || found.secret != secretAvailable {
		return nil, err
	}
	a.hash, a.hint = key.DigestOf(plaintext).BoundTo(lifecycle.OwnerOf(k, organizationID)), r.Format.Hint(plaintext)
	return a, nil
}

// mint returns the plaintext of the key, which is in its Secret when secretAvailable has been found.
//
// Creating the Secret is what makes it happen once: whoever comes second, be it this controller after a crash or one
// that has lost its leadership, is told AlreadyExists and takes what is there.
func (r *apiKeys) mint(ctx context.Context, found *findings) (plaintext string, err error) {
	ctx, span := tracing.Child(ctx, "mint")
	defer func() { tracing.End(span, err) }()
	k := found.key
	if what := keysecret.Reserved(k); what != "" {
		return r.adoptReserved(ctx, found, what)
	}
	plaintext, err = r.Format.Mint(r.Random, key.Environment(k.Spec.Environment))
	if err != nil {
		return "", err
	}
	// Until the Secret is there, the plaintext is in this process' memory only: if the apiserver refuses it, nobody has
	// ever had it, and the next try mints another.
	err = r.client.Create(ctx, keysecret.Encode(k, plaintext, r.BaseURLs[k.Spec.Environment]))
	switch {
	case err == nil:
		found.secret = secretAvailable
		return plaintext, nil
	case apierrors.IsAlreadyExists(err):
		return r.adopt(ctx, found)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // Forbidden as well, but nobody's mistake
		found.gone = true
		return "", nil
	case apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		// The same request would get the same answer: a person has to change a quota or a policy, and is told so in status.
		// An admission policy or webhook may quote what it was shown, which is the key.
		found.secret, found.detail = secretRejected, key.Redact(err.Error(), plaintext)
		return "", nil
	default:
		// Not wrapped: the error itself may hold the plaintext, and whoever unwraps it would log it.
		redacted := "create Secret: " + key.Redact(err.Error(), plaintext)
		if _, answered := answerOf(err); answered {
			return "", answer(redacted)
		}
		return "", errors.New(redacted)
	}
}

// adopt returns the key in a Secret that exists already, if a controller put it there for this very ApiKey: this one
// before it crashed, or an earlier leader. Any other Secret is left as it is, and no key is taken from it: whoever may
// create Secrets must not be able to choose a key.
func (r *apiKeys) adopt(ctx context.Context, found *findings) (string, error) {
	s := new(corev1.Secret)
	name := client.ObjectKey{Namespace: found.key.Namespace, Name: found.key.SecretName()}
	// If it has gone since, the error has the whole reconcile tried again, and then the key is minted.
	if err := r.uncached.Get(ctx, name, s); err != nil {
		return "", fmt.Errorf("get Secret %s: %w", name.Name, err)
	}
	plaintext, err := keysecret.Decode(found.key, s, r.Format)
	if err == nil {
		found.secret = secretAvailable
		return plaintext, nil
	}
	conflict, err := r.look(ctx, s, err)
	if err != nil {
		return "", err
	}
	found.secret, found.detail, found.advice = conflict.tell()
	return "", nil
}

// adoptReserved makes no Secret of that name or with that metadata. One that was made before there was this rule is
// adopted as any other.
func (r *apiKeys) adoptReserved(ctx context.Context, found *findings, what string) (string, error) {
	plaintext, err := r.adopt(ctx, found)
	if apierrors.IsNotFound(err) {
		found.secret, found.detail = secretReserved, what
		return "", nil
	}
	return plaintext, err
}

// inspect looks whether a served key is the rightful owner of its hash, and whether its Secret is still there. Nothing
// that it finds out about the Secret changes whether the key is served.
func (r *apiKeys) inspect(ctx context.Context, found findings) (findings, error) {
	if err := r.lookForRival(ctx, &found); err != nil || found.rival != nil {
		return found, err
	}
	if found.key.SecretName() == "" {
		return found, nil
	}
	s := new(corev1.Secret)
	err := r.uncached.Get(ctx, client.ObjectKey{Namespace: found.key.Namespace, Name: found.key.SecretName()}, s)
	if apierrors.IsNotFound(err) {
		found.secret = secretDeleted
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("get Secret %s: %w", found.key.SecretName(), err)
	}
	// By the hash, not by the form alone: a well-formed Secret with another key would mislead the app that reads it.
	// Whatever is wrong with it, the app that reads the Secret has not got this key: one condition says that.
	found.secret = secretMismatch
	if plaintext, err := keysecret.Decode(found.key, s, r.Format); err == nil && isHashedTo(found.key, plaintext) {
		found.secret = secretAvailable
	}
	return found, nil
}

// isHashedTo tells whether k's hash is that of the key in plaintext.
func isHashedTo(k *v1alpha1.ApiKey, plaintext string) bool {
	hash, err := lifecycle.HashOf(k)
	return err == nil && key.DigestOf(plaintext).BoundTo(lifecycle.OwnerOf(k, k.Status.OrganizationID)) == hash
}

// organizationID is the UID of a namespace. It is read from the apiserver: a namespace may have been deleted and made
// again under its name, and a cache would still have the old one. Metadata alone is asked for. The controller may get
// Namespaces and not list or watch them, so there is no cache to ask anyway.
func organizationID(ctx context.Context, uncached client.Reader, namespace string) (string, error) {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := uncached.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
		return "", fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	return string(ns.UID), nil
}
