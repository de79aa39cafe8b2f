// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// TestIndexPublishedHashIsWorthNothing: whoever brings what is published of another organization's key, before it, with
// it or after it, does not stand in its way, and never gets the key accepted.
func TestIndexPublishedHashIsWorthNothing(t *testing.T) {
	minted1, s1 := minted(t)
	brought, s2 := minted(t, authntest.ByHash)
	published := func(k *v1alpha1.ApiKey) key.Hash {
		hash, err := key.ParseHash(k.Status.Hash)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	for reason, victim := range map[string]struct {
		key       *v1alpha1.ApiKey
		plaintext string
	}{"minted": {minted1, s1}, "brought": {brought, s2}} {
		for how, thief := range map[string]func(*v1alpha1.ApiKey){
			"as it stands there":                     func(*v1alpha1.ApiKey) {},
			"in a namespace named like the id":       func(k *v1alpha1.ApiKey) { k.Namespace = authntest.OrganizationID },
			"with a binding of their own":            func(k *v1alpha1.ApiKey) { k.Status.Hash = key.Hash{Lookup: published(victim.key).Lookup}.String() },
			"with the lookup as a digest's end":      func(k *v1alpha1.ApiKey) { k.Status.Hash = digestOf(published(victim.key)) },
			"of the other environment":               func(k *v1alpha1.ApiKey) { k.Spec.Environment = v1alpha1.EnvironmentTest },
			"with one that was written long before":  authntest.CreatedAt(after(-1000)),
			"with one that is a duplicate at theirs": authntest.Duplicate,
		} {
			t.Run(reason+", "+how, func(t *testing.T) {
				theirs, _ := minted(t, authntest.In("globex", "globex-uid"), func(k *v1alpha1.ApiKey) {
					k.Status.Hash = victim.key.Status.Hash
					authntest.ByHash(k)
				}, thief)
				for _, order := range [][]any{{victim.key, theirs}, {theirs, victim.key}} {
					x := authntest.Index(t, order...)
					served(t, x, victim.plaintext, victim.key)
					x.RemoveKey(theirs)
					served(t, x, victim.plaintext, victim.key)
					x.PutKey(theirs)
					x.RemoveKey(victim.key)
					refused(t, x, victim.plaintext, authn.Unknown)
					x.PutKey(victim.key)
					served(t, x, victim.plaintext, victim.key)
					authn.CheckIndex(t, x, "at the end")
				}
			})
		}
	}
}

// digestOf is what is published of a key, as a version before would have written it.
func digestOf(h key.Hash) string { return fmt.Sprintf("sha256:%x%x", h.Lookup, h.Binding) }

// TestIndexManyBring: one organization has one key at most in the way of another's, however many it brings.
func TestIndexManyBring(t *testing.T) {
	const many = 2000
	victim, s := minted(t)
	x := authntest.Index(t, victim)
	for i := range many {
		k, _ := minted(t, authntest.In("globex", "globex-uid"), func(k *v1alpha1.ApiKey) {
			k.UID = types.UID(fmt.Sprint("many-", i))
			k.Status.Hash = victim.Status.Hash[:len("bound:")+32] + fmt.Sprintf(":%032x", i)
			authntest.ByHash(k)
		})
		x.PutKey(k)
	}
	served(t, x, s, victim)
	held(t, x, 2, 2, 0)
}

// TestIndexKeysOfVersionsBefore: a key whose status has the whole digest is served, until it is deleted, in its own
// organization and nowhere else.
func TestIndexKeysOfVersionsBefore(t *testing.T) {
	for _, mods := range [][]func(*v1alpha1.ApiKey){nil, {authntest.ByHash}} {
		old, s := minted(t, mods...)
		digest := key.DigestOf(s)
		old.Status.Hash = fmt.Sprintf("sha256:%x", digest)
		if old.Spec.SecretHash != "" {
			old.Spec.SecretHash = old.Status.Hash
		}
		for reason, k := range map[string]*v1alpha1.ApiKey{"watched": old, "listed": authn.Listed(old)} {
			x := authntest.Index(t, k)
			served(t, x, s, old)
			deleting := k.DeepCopy()
			authntest.Deleting(deleting)
			x.PutKey(deleting)
			refused(t, x, s, authn.Revoked)
			x.RemoveKey(deleting)
			refused(t, x, s, authn.Unknown)
			if x.Size() != 0 {
				t.Errorf("%s: the key stays", reason)
			}
		}
	}
	k, s := minted(t, func(k *v1alpha1.ApiKey) { k.Status.Hash = "sha256:" + strings.Repeat("0", 64) })
	refused(t, authntest.Index(t, k), s, authn.Unknown)
}
