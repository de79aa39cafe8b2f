// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// population is n keys of n/100 organizations, made one at a time: every fifth is pinned, every other one expires.
type population struct {
	format   key.Format
	random   *rand.ChaCha8
	profiles []*v1alpha1.Profile
}

const bulkSeed = 20260801

func newPopulation(t testing.TB, x *authn.Index, n int) *population {
	t.Helper()
	p := &population{format: authntest.Format(t), random: rand.NewChaCha8([32]byte{0: bulkSeed & 0xff, 1: bulkSeed >> 8 & 0xff})}
	for i := range max(1, n/500) {
		profile := authntest.Profile(func(p *v1alpha1.Profile) { p.Status.OrganizationID = organization(i) })
		x.PutProfile(profile)
		p.profiles = append(p.profiles, profile)
	}
	return p
}

func organization(i int) string { return fmt.Sprintf("0ac3e000-0000-4000-8000-%012d", i) }

// next makes an ApiKey that shares no memory with any other, as decoding does.
func (p *population) next(t testing.TB, i, n int) (*v1alpha1.ApiKey, string) {
	t.Helper()
	plaintext, err := p.format.Mint(p.random, key.Live)
	if err != nil {
		t.Fatal(err)
	}
	org := i % max(1, n/100)
	digest := key.DigestOf(plaintext)
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprintf("organization-%d", org), Name: fmt.Sprintf("website-frontend-%d", i),
			UID:               types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)),
			CreationTimestamp: metav1.Time{Time: authntest.Epoch},
		},
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.Environment("live"), Scopes: authntest.AllScopes},
		Status: v1alpha1.ApiKeyStatus{
			Hash: digest.BoundTo(key.OwnerID(organization(org))).String(), Hint: p.format.Hint(plaintext), OrganizationID: organization(org),
			MintedAt: &metav1.Time{Time: authntest.Epoch},
		},
	}
	if i%5 == 0 {
		profile := p.profiles[i/5%len(p.profiles)]
		k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profile.Name}
		k.Status.ProfileID = string(append([]byte(nil), profile.UID...))
	}
	if i%2 == 0 {
		k.Status.ExpiresAt = &metav1.Time{Time: now.AddDate(100, 0, 0)}
	}
	return k, plaintext
}

// TestIndexMemory: the heap that a key takes, with 100,000 of them and a share of the Profiles and organizations.
// Scopes of somebody's own take memory once, however many keys have the same: those of an organization have one of
// three sets here. Claims take the length of their text.
func TestIndexMemory(t *testing.T) {
	for _, c := range []struct {
		reason string
		keys   int
		used   bool
		most   float64
		mod    func(i int, k *v1alpha1.ApiKey)
	}{
		{"with three scopes of their owners' own", 100_000, false, 400, func(i int, k *v1alpha1.ApiKey) {
			for n := range 3 {
				own := fmt.Sprintf("billing.%s.example.com:invoices-%d", k.Namespace, n*(i/1000%3+1))
				k.Spec.Scopes = append(k.Spec.Scopes[:6+n:6+n], v1alpha1.Scope(own))
			}
		}},
		{"with two claims as well, which no two have alike", 10_000, false, 480, func(i int, k *v1alpha1.ApiKey) {
			k.Spec.Scopes = append(k.Spec.Scopes[:6:6], "a.example.com:x", "b.example.com:x", "c.example.com:x")
			k.Spec.Claims = map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": v1alpha1.ClaimValue(fmt.Sprintf("c-%d", i))}
		}},
		{"used", 10_000, true, 640, func(int, *v1alpha1.ApiKey) {}},
	} {
		x := authn.NewIndex()
		before := heap()
		p := newPopulation(t, x, c.keys)
		for i := range c.keys {
			k, plaintext := p.next(t, i, c.keys)
			c.mod(i, k)
			x.PutKey(k)
			if c.used {
				served(t, x, plaintext, k).Caller()
			}
		}
		p = nil
		perKey := (float64(heap()) - float64(before)) / float64(c.keys)
		t.Logf("%s: %.0f bytes of heap a key", c.reason, perKey)
		if x.Size() != c.keys || perKey > c.most {
			t.Errorf("%s: %.0f bytes of heap a key, with %d keys; want at most %.0f", c.reason, perKey, x.Size(), c.most)
		}
		runtime.KeepAlive(x)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
