// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// ErrNoHash is returned for an ApiKey that has no hash yet.
var ErrNoHash = errors.New("no hash")

// HashOf returns the hash in status. A key that was minted before version 0.2 has the whole digest there; of this its
// hash is made here, so that nobody else has to know.
func HashOf(k *v1alpha1.ApiKey) (key.Hash, error) {
	return parseHash("status.hash", k.Status.Hash, OwnerOf(k, k.Status.OrganizationID))
}

// WantedHash returns the hash that k has or, if it brings its own, will have.
func WantedHash(k *v1alpha1.ApiKey) (key.Hash, error) {
	if k.Status.Hash != "" {
		return HashOf(k)
	}
	return parseHash("spec.secretHash", k.Spec.SecretHash, OwnerOf(k, ""))
}

// OwnerOf returns whom the key is bound to: the namespace's name if its hash was brought, and else the organization.
func OwnerOf(k *v1alpha1.ApiKey, organizationID string) key.Owner {
	if k.Spec.SecretHash != "" {
		return key.OwnerNamespace(k.Namespace)
	}
	return key.OwnerID(organizationID)
}

func parseHash(field, s string, owner key.Owner) (key.Hash, error) {
	if s == "" {
		return key.Hash{}, ErrNoHash
	}
	if digest, err := key.ParseDigest(s); err == nil {
		return digest.BoundTo(owner), nil
	}
	hash, err := key.ParseHash(s)
	if err != nil {
		return key.Hash{}, fmt.Errorf("%s: %w", field, err)
	}
	return hash, nil
}
