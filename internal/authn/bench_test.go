// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

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
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprintf("organization-%d", org), Name: fmt.Sprintf("website-frontend-%d", i),
			UID:               types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)),
			CreationTimestamp: metav1.Time{Time: authntest.Epoch},
		},
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.Environment("live"), Scopes: authntest.AllScopes},
		Status: v1alpha1.ApiKeyStatus{
			Hash: key.HashOf(plaintext).String(), Hint: p.format.Hint(plaintext), OrganizationID: organization(org),
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
func TestIndexMemory(t *testing.T) {
	const keys, most = 100_000, 400
	x := authn.NewIndex()
	before := heap()
	p := newPopulation(t, x, keys)
	for i := range keys {
		k, _ := p.next(t, i, keys)
		x.PutKey(k)
	}
	p = nil
	perKey := float64(heap()-before) / keys
	t.Logf("%.0f bytes of heap a key", perKey)
	if x.Size() != keys || perKey > most {
		t.Errorf("%.0f bytes of heap a key, with %d keys; want at most %d", perKey, x.Size(), most)
	}
	runtime.KeepAlive(x)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkAuthenticate measures from header value to Identity, beside the least that any verifier does: a SHA-256 and
// a map lookup of the same strings. The order of requests is random, but the headers lie in memory in that order:
// what is measured is the index, not the reading of headers from all over the heap.
func BenchmarkAuthenticate(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		s := sync.OnceValue(func() *scenario { return newScenario(b, n) })
		b.Run(fmt.Sprintf("keys=%d/control", n), func(b *testing.B) { s().control(b) })
		b.Run(fmt.Sprintf("keys=%d/hit", n), func(b *testing.B) { s().authenticate(b, s().hits, true) })
		b.Run(fmt.Sprintf("keys=%d/miss", n), func(b *testing.B) { s().authenticate(b, s().misses, false) })
		b.Run(fmt.Sprintf("keys=%d/malformed", n), func(b *testing.B) { s().authenticate(b, s().malformed, false) })
	}
}

type scenario struct {
	authenticator           *authn.Authenticator
	bare                    map[key.Hash]*byte
	hits, misses, malformed []string
}

const headers = 1 << 17 // in flight in turn, at most

func newScenario(b *testing.B, n int) *scenario {
	b.Helper()
	x := authn.NewIndex()
	s := &scenario{
		authenticator: authn.NewAuthenticator(x, authntest.Format(b), key.Live, clock.RealClock{}),
		bare:          make(map[key.Hash]*byte, n),
	}
	p := newPopulation(b, x, n)
	plaintexts := make([]string, n)
	entries := make([]byte, n)
	for i := range n {
		var k *v1alpha1.ApiKey
		k, plaintexts[i] = p.next(b, i, n)
		x.PutKey(k)
		s.bare[key.HashOf(plaintexts[i])] = &entries[i]
	}
	random := rand.New(rand.NewPCG(bulkSeed, 0))
	random.Shuffle(n, func(i, j int) { plaintexts[i], plaintexts[j] = plaintexts[j], plaintexts[i] })
	plaintexts = plaintexts[:min(n, headers)]
	s.hits = sequential(len(plaintexts), func(i int) string { return plaintexts[i] })
	s.misses = sequential(len(plaintexts), func(int) string {
		unknown, err := p.format.Mint(p.random, key.Live)
		if err != nil {
			b.Fatal(err)
		}
		return unknown
	})
	s.malformed = sequential(len(plaintexts), func(i int) string {
		changed := []byte(plaintexts[i])
		changed[20] = "xy"[binary.LittleEndian.Uint16(changed)%2]
		changed[21] = '0' + '9' - min(changed[21], '9')
		return string(changed)
	})
	runtime.GC()
	return s
}

// sequential lays headers out one behind the other.
func sequential(n int, at func(i int) string) []string {
	var all []byte
	ends := make([]int, n)
	for i := range n {
		all = append(append(all, "Bearer "...), at(i)...)
		ends[i] = len(all)
	}
	text, headers, begin := string(all), make([]string, n), 0
	for i, end := range ends {
		headers[i] = text[begin:end]
		begin = end
	}
	return headers
}

func (s *scenario) authenticate(b *testing.B, headers []string, want bool) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.authenticator.Authenticate(headers[i : i+1]); (err == nil) != want {
			b.Fatalf("error %v", err)
		}
		if i++; i == len(headers) {
			i = 0
		}
	}
}

func (s *scenario) control(b *testing.B) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		var buf [64]byte
		if s.bare[sha256.Sum256(buf[:copy(buf[:], s.hits[i][len("Bearer "):])])] == nil {
			b.Fatal("not found")
		}
		if i++; i == len(s.hits) {
			i = 0
		}
	}
}
