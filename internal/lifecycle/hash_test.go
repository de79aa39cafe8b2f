// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// TestHashes: what stands in an ApiKey is one hash, in whichever form and wherever it stands.
func TestHashes(t *testing.T) {
	const uid = "0ac3e000-0000-4000-8000-000000000000"
	digest := key.DigestOf("lmp_live_some-key")
	byID, byName := digest.BoundTo(key.OwnerID(uid)), digest.BoundTo(key.OwnerNamespace("acme"))
	before := fmt.Sprintf("sha256:%x", digest) // of versions before 0.2
	bad := errors.New("an error")
	for _, tc := range []struct {
		reason, brought, status string
		has, wants              key.Hash
		hasErr, wantsErr        error
	}{
		{reason: "to be minted", hasErr: lifecycle.ErrNoHash, wantsErr: lifecycle.ErrNoHash},
		{reason: "minted", status: byID.String(), has: byID, wants: byID},
		{reason: "minted by a version before: bound to the organization's id", status: before, has: byID, wants: byID},
		{reason: "to be taken over", brought: byName.String(), hasErr: lifecycle.ErrNoHash, wants: byName},
		{reason: "taken over", brought: byName.String(), status: byName.String(), has: byName, wants: byName},
		{reason: "brought to a version before: bound to the namespace", brought: before, hasErr: lifecycle.ErrNoHash, wants: byName},
		{reason: "and taken over by it", brought: before, status: before, has: byName, wants: byName},
		{reason: "what is no hash", brought: "sha256:", status: "bound:", hasErr: bad, wantsErr: bad},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k := &v1alpha1.ApiKey{
				Spec:   v1alpha1.ApiKeySpec{SecretHash: tc.brought},
				Status: v1alpha1.ApiKeyStatus{Hash: tc.status, OrganizationID: uid},
			}
			k.Namespace = "acme"
			matches := func(got, want error) bool {
				return got == nil == (want == nil) && (errors.Is(got, lifecycle.ErrNoHash) == errors.Is(want, lifecycle.ErrNoHash))
			}
			if got, err := lifecycle.HashOf(k); got != tc.has || !matches(err, tc.hasErr) {
				t.Errorf("HashOf() = %s, %v; want %s, %v", got, err, tc.has, tc.hasErr)
			}
			if got, err := lifecycle.WantedHash(k); got != tc.wants || !matches(err, tc.wantsErr) {
				t.Errorf("WantedHash() = %s, %v; want %s, %v", got, err, tc.wants, tc.wantsErr)
			}
		})
	}
}
