// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// What a list brings is the same to an index as what a watch brings: each mod changes something that an index takes in.
func TestListed(t *testing.T) {
	for reason, mods := range map[string][]func(*v1alpha1.ApiKey){
		"as it is":              nil,
		"another organization":  {authntest.In("other", "00000000-0000-4000-8000-000000000009")},
		"pinned":                {authntest.PinnedTo(authntest.Profile())},
		"pinned, not bound yet": {func(k *v1alpha1.ApiKey) { k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: "p"} }},
		"some scopes":           {authntest.Scoped(v1alpha1.ScopePostsRead, v1alpha1.ScopeMediaWrite)},
		"no scope":              {authntest.Scoped()},
		"scopes of one's own":   {authntest.Scoped("b.dev:x", v1alpha1.ScopePostsRead, "a.dev:y")},
		"claims":                {authntest.Claiming(map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": "4 2"})},
		"it expires":            {authntest.ExpiringAt(now.Add(1500 * time.Millisecond))},
		"it is to expire": {func(k *v1alpha1.ApiKey) {
			k.Spec.ExpiresAt, k.Status.MintedAt, k.Status.Hash = &metav1.Time{Time: now}, nil, ""
		}},
		"older":         {authntest.CreatedAt(now.AddDate(-1, 0, 0))},
		"a duplicate":   {authntest.Duplicate},
		"by hash":       {authntest.ByHash},
		"being deleted": {authntest.Deleting},
		"being deleted, and waited for": {authntest.Deleting, func(k *v1alpha1.ApiKey) {
			k.Finalizers = []string{"example.com/other", v1alpha1.FinalizerRevocation}
		}},
		"being deleted, with all that it has queued": {authntest.Deleting, func(k *v1alpha1.ApiKey) {
			k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled, "a": "b"}
		}},
		"being deleted, and accepted by nobody": {authntest.Deleting, awaited, canceling("true"), unaccepted},
		"a rate of its own": {func(k *v1alpha1.ApiKey) {
			k.Spec.RateLimit = &v1alpha1.RateLimit{Requests: 7, Window: metav1.Duration{Duration: 90 * time.Second}}
		}},
		"a hash that is none": {func(k *v1alpha1.ApiKey) { k.Status.Hash = "sha256:short" }},
	} {
		for _, env := range []key.Environment{key.Live, key.Test} {
			k, plaintext := authntest.Minted(t, authntest.Format(t), env, mods...)
			listed := authn.Listed(k)
			watched, relisted := lifecycle.KeyOf(k), lifecycle.KeyOf(listed)
			if reason == "a hash that is none" {
				watched.Hashed = false // nobody can hold it
			}
			if diff := cmp.Diff(watched, relisted, cmpopts.EquateApproxTime(0)); diff != "" {
				t.Errorf("%s, %s: what decides whether it is served (-watched +listed):\n%s", reason, env, diff)
			}
			one, other := taken(t, k, env, plaintext), taken(t, listed, env, plaintext)
			if diff := cmp.Diff(one, other, cmpopts.EquateApproxTime(0)); diff != "" {
				t.Errorf("%s, %s: what an index has taken in (-watched +listed):\n%s", reason, env, diff)
			}
		}
	}
}

// taking is what is to be seen of a key that an index has taken in.
type taking struct {
	Refusal, Name, Last4, Environment, ID, ProfileID string
	Organization                                     caller.Organization
	Scopes                                           []string
	Claims                                           map[string]string
	CreatedAt, ExpiresAt                             time.Time
	Rate                                             rate.Rate
	Withdrawals                                      int
	Named                                            int // keys whose deletion waits for this process
}

func taken(t *testing.T, k *v1alpha1.ApiKey, env key.Environment, plaintext string) (seen taking) {
	x := authn.NewIndex()
	x.OnWithdraw(func(_ *authn.Key, done func()) { seen.Withdrawals++; done() })
	keys, _, feed := authn.Stores(x)
	if err := keys.Add(k); err != nil {
		t.Fatal(err)
	}
	_, named := feed.Applied(10)
	seen.Named = len(named)
	a := authntest.Authenticator(t, x, env, clocktesting.NewFakePassiveClock(now))
	if _, err := authntest.Caller(a, now, []string{"Bearer " + plaintext}); err != nil {
		seen.Refusal = err.Error()
	}
	e := x.Entry(key.DigestOf(plaintext))
	if e == nil {
		return seen
	}
	seen.Name, seen.Last4, seen.Environment, seen.ID, seen.ProfileID = e.Name(), e.Last4(), string(e.Environment()), string(e.ID()), string(e.ProfileID())
	seen.Organization, seen.Scopes, seen.CreatedAt, seen.ExpiresAt = *e.Organization, e.Scopes.Names(), e.CreatedAt(), e.ExpiresAt()
	c := authn.Identity{Key: e}.Caller()
	seen.Rate, seen.Claims = c.Rate, c.Claims.Map()
	return seen
}

// A first list of 100,000 keys is to take less than the index that is made of it.
func TestListedIsSmall(t *testing.T) {
	if authn.ListedSize > 216 {
		t.Errorf("a listed key takes %d bytes", authn.ListedSize)
	}
}
