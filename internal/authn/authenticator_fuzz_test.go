// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// fuzzKeys stand in the seed corpus too, so they are the same for ever. The third is revoked, the fourth is nobody's.
var fuzzKeys = [...]string{
	"lmp_live_UVWXYZabcdefghijklmnopqrstuvwxyz2HLgHy",
	"lmp_live_2I0swNtBV2H8GpoDLXkef3hdNyrLKvjS4VIClE",
	"lmp_live_3whloQpZziUnswg8C85hOkuV5P4rOKV62J7gHi",
	"lmp_live_T9VqjUjC6UJ6I3kZqqhDeN5ZiolIVnj14NlK13",
}

// fixed gives the ApiKey a key that is known beforehand.
func fixed(plaintext string) func(*v1alpha1.ApiKey) {
	digest := key.DigestOf(plaintext)
	return func(k *v1alpha1.ApiKey) {
		k.Status.Hash = digest.BoundTo(key.OwnerID(authntest.OrganizationID)).String()
	}
}

// FuzzAuthorization: whatever the header's values are, nobody comes in but with one of the minted keys, written as the
// contract says; and such a header always does come in.
func FuzzAuthorization(f *testing.F) {
	k1, _ := minted(f, fixed(fuzzKeys[0]))
	k2, _ := minted(f, fixed(fuzzKeys[1]))
	revoked, _ := minted(f, fixed(fuzzKeys[2]), authntest.Deleting)
	s1, s2, s3, unknown := fuzzKeys[0], fuzzKeys[1], fuzzKeys[2], fuzzKeys[3]
	a := authenticator(f, authntest.Index(f, k1, k2, revoked))
	contract := regexp.MustCompile(`\A(?i:Bearer) +(` + s1 + `|` + s2 + `)\z`)
	for _, s := range []string{s1, s2, s3, unknown} {
		f.Add("Bearer "+s, "", uint8(1))
		f.Add("bEARER "+s, "", uint8(1))
		f.Add("Bearer "+s, "Bearer "+s1, uint8(2))
	}
	f.Fuzz(func(t *testing.T, first, second string, n uint8) {
		values := []string{first, second}[:n%3]
		id, err := a.Identify(values)
		want := len(values) == 1 && len(first) <= 128 && contract.MatchString(first)
		if want != (err == nil) || want != (id.Key != nil) {
			t.Fatalf("Authenticate(%q) = %+v, %v; want it served: %t", values, id, err, want)
		}
		var refusal authn.Refusal
		if err != nil && (!errors.As(err, &refusal) || !slices.Contains(authn.Refusals, refusal)) {
			t.Fatalf("Authenticate(%q): error %v is not one of the refusals", values, err)
		}
	})
}
