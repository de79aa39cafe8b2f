// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// rounds is how often each side of a ratio is measured; the best of each counts, because noise only ever adds.
const rounds = 5

// benchAuthenticate measures Authenticate beside what it can't do without: one SHA-256 and one map lookup.
func benchAuthenticate(_ context.Context, r *report) error {
	perKey := map[int]cost{}
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		c, err := measureAuthenticate(n)
		if err != nil {
			return err
		}
		perKey[n] = c
		if n != 100_000 {
			continue
		}
		r.atMost("authenticate: hit / bare SHA-256 + map, 100,000 keys", c.hit/c.control, 2, "x", fmt.Sprintf("%.0f ns / %.0f ns", c.hit, c.control))
		r.atMost("authenticate: allocations of a hit", c.allocations, 0, "", "")
		r.atMost("authenticate: miss / hit, 100,000 keys", c.miss/c.hit, 1, "x", fmt.Sprintf("%.0f ns / %.0f ns", c.miss, c.hit))
		r.atMost("authenticate: wrong checksum / hit, 100,000 keys", c.checksum/c.hit, 0.5, "x", fmt.Sprintf("%.0f ns / %.0f ns", c.checksum, c.hit))
		r.atMost("authenticate: malformed / hit, 100,000 keys", c.malformed/c.hit, 0.5, "x", fmt.Sprintf("%.0f ns / %.0f ns", c.malformed, c.hit))
		r.atMost("index: heap per key, 100,000 keys", c.heap, 400, " B", "")
	}
	small, large := perKey[1_000], perKey[1_000_000]
	r.atMost("authenticate: hit at 1,000,000 keys / at 1,000 keys", large.hit/small.hit, 2, "x",
		fmt.Sprintf("%.0f ns / %.0f ns; bare SHA-256 + map: %.2fx", large.hit, small.hit, large.control/small.control))
	return nil
}

// cost is in nanoseconds, bytes and numbers.
type cost struct {
	hit, miss, checksum, malformed, control float64
	allocations, heap                       float64
}

func measureAuthenticate(n int) (cost, error) {
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return cost{}, err
	}
	random := rand.NewChaCha8([32]byte{1})
	mint := func() string {
		k, mintErr := format.Mint(random, key.Live)
		err = mintErr
		return k
	}
	held, strange := make([]string, n), make([]string, n)
	for i := range n {
		held[i], strange[i] = mint(), mint()
	}
	if err != nil {
		return cost{}, err
	}
	index := authn.NewIndex()
	before := heapInUse()
	for i, k := range held {
		index.PutKey(resource(format, i, k))
	}
	c := cost{heap: float64(heapInUse()-before) / float64(n)}

	control := make(map[[sha256.Size]byte]*authn.Key, n)
	for _, k := range held {
		control[sha256.Sum256([]byte(k))] = new(authn.Key)
	}
	// Headers lie in memory in the order in which they are used, which is not that of the keys: what is measured is the
	// lookup of a key that was not used lately, not the fetching of the header, which a server has just read.
	rand.New(random).Shuffle(n, func(i, j int) { held[i], held[j] = held[j], held[i] })
	last := func(k string) string { return k[:len(k)-1] + string('0'+('9'-k[len(k)-1])%10&7) }
	hits, misses := headers(held, nil), headers(strange, nil)
	typos, short := headers(held, last), headers(held, func(k string) string { return k[:len(k)-1] })

	a := authn.NewAuthenticator(index, format, key.Live, clock.RealClock{})
	c.hit, c.miss, c.checksum, c.malformed, c.control = math.Inf(1), math.Inf(1), math.Inf(1), math.Inf(1), math.Inf(1)
	for range rounds {
		c.control = min(c.control, each(hits, func(h []string) bool { return control[sha256.Sum256([]byte(h[0][len("Bearer "):]))] != nil }))
		c.hit = min(c.hit, each(hits, func(h []string) bool { _, err := a.Authenticate(h); return err == nil }))
		c.miss = min(c.miss, each(misses, func(h []string) bool { _, err := a.Authenticate(h); return err == authn.Unknown }))
		c.checksum = min(c.checksum, each(typos, func(h []string) bool { _, err := a.Authenticate(h); return err == authn.Malformed }))
		c.malformed = min(c.malformed, each(short, func(h []string) bool { _, err := a.Authenticate(h); return err == authn.Malformed }))
	}
	i := 0
	c.allocations = testing.AllocsPerRun(1000, func() {
		if _, err := a.Authenticate(hits[i%n]); err != nil {
			panic(err)
		}
		i++
	})
	runtime.KeepAlive(control)
	return c, nil
}

// each returns the nanoseconds that try takes for one header. A wrong outcome ends the program: it would be a figure of
// something else.
func each(headers [][]string, try func([]string) bool) float64 {
	const most = 200_000
	n := max(len(headers), most)
	began := time.Now()
	for i := range n {
		if !try(headers[i%len(headers)]) {
			panic("bench: a header was not treated as it should be")
		}
	}
	return float64(time.Since(began)) / float64(n)
}

// headers lays the Authorization headers of keys out one behind the other.
func headers(keys []string, change func(string) string) [][]string {
	var slab strings.Builder
	ends := make([]int, len(keys))
	for i, k := range keys {
		if change != nil {
			k = change(k)
		}
		slab.WriteString("Bearer " + k)
		ends[i] = slab.Len()
	}
	text, values, all := slab.String(), make([]string, len(keys)), make([][]string, len(keys))
	start := 0
	for i, end := range ends {
		values[i] = text[start:end]
		all[i] = values[i : i+1 : i+1]
		start = end
	}
	return all
}

// resource is an ApiKey as it comes from the apiserver: every string of its own.
func resource(format key.Format, i int, plaintext string) *v1alpha1.ApiKey {
	created := metav1.NewTime(time.Unix(1_700_000_000+int64(i), 0))
	organization := i % 100
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         fmt.Sprintf("organization-%d", organization),
			Name:              fmt.Sprintf("some-backend-%d", i),
			UID:               types.UID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)),
			CreationTimestamp: created,
		},
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: []v1alpha1.Scope{v1alpha1.ScopePostsRead}},
		Status: v1alpha1.ApiKeyStatus{
			Hash:           key.HashOf(plaintext).String(),
			Hint:           format.Hint(plaintext),
			OrganizationID: fmt.Sprintf("ffffffff-0000-4000-8000-%012x", organization),
			MintedAt:       &created,
		},
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
