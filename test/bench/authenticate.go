// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
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
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// rounds is how often each side of a ratio is measured; the best of each counts, because noise only ever adds.
const rounds = 5

// benchAuthenticate measures how a key is recognised beside what that can't do without, one SHA-256 and one map lookup;
// and beside that, admission, which is what every request passes. The sizes are measured in turns too: their ratio is a
// figure.
//
// To be recognised is to be let in and ended at once: the fence, the lookup and the registry of flights are all in it,
// because nothing is recognised without them.
func benchAuthenticate(ctx context.Context, r *report) error {
	beds := map[int]*authBed{1_000: nil, 100_000: nil, 1_000_000: nil}
	for n := range beds {
		var err error
		if beds[n], err = newAuthBed(n); err != nil {
			return err
		}
	}
	for range rounds {
		for _, b := range beds {
			b.measure()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	c := beds[100_000]
	pair := func(a, b float64) string { return fmt.Sprintf("%.0f ns / %.0f ns", a, b) }
	r.atMost("authenticate: hit / bare SHA-256 + map, 100,000 keys", c.hit/c.control, 2, "x", pair(c.hit, c.control))
	r.atMost("authenticate: allocations of a hit", c.allocations(), 0, "", "")
	r.atMost("authenticate: miss / hit, 100,000 keys", c.miss/c.hit, 1, "x", pair(c.miss, c.hit))
	r.atMost("authenticate: wrong checksum / hit, 100,000 keys", c.checksum/c.hit, 0.5, "x", pair(c.checksum, c.hit))
	r.atMost("authenticate: malformed / hit, 100,000 keys", c.malformed/c.hit, 0.5, "x", pair(c.malformed, c.hit))
	r.atMost("admission: hit / authenticate: hit, 100,000 keys", c.admitted/c.hit, 1.1, "x", pair(c.admitted, c.hit))
	r.atMost("admission: allocations of a hit", c.admissionAllocations(), 0, "", "")
	r.atMost("index: heap per key, 100,000 keys", c.heap, 400, " B", "")
	small, large := beds[1_000], beds[1_000_000]
	r.atMost("authenticate: hit at 1,000,000 keys / at 1,000 keys", large.hit/small.hit, 2, "x",
		fmt.Sprintf("%.0f ns / %.0f ns; bare SHA-256 + map: %.2fx", large.hit, small.hit, large.control/small.control))
	return nil
}

// authBed is an index of some size, the headers to try on it, and the best times so far, in nanoseconds.
type authBed struct {
	authenticator              *authn.Authenticator
	admission                  *admission.Admission
	held                       map[[sha256.Size]byte]*authn.Key // the control's
	hits, misses, typos, short headers

	hit, miss, checksum, malformed, admitted, control float64
	heap                                    float64 // bytes a key
}

func newAuthBed(n int) (*authBed, error) {
	format, err := key.NewFormat(key.DefaultWord)
	if err != nil {
		return nil, err
	}
	random := rand.NewChaCha8([32]byte{1})
	held, strange := make([]string, n), make([]string, n)
	for i := range n {
		var errHeld, errStrange error
		held[i], errHeld = format.Mint(random, key.Live)
		strange[i], errStrange = format.Mint(random, key.Live)
		if err := errors.Join(errHeld, errStrange); err != nil {
			return nil, err
		}
	}
	index := authn.NewIndex()
	before := heapInUse()
	for i, k := range held {
		index.PutKey(resource(format, i, k))
	}
	b := &authBed{
		heap:          float64(heapInUse()-before) / float64(n),
		authenticator: newAuthenticator(index, format),
		held:          make(map[[sha256.Size]byte]*authn.Key, n),
		hit:           math.Inf(1), miss: math.Inf(1), checksum: math.Inf(1), malformed: math.Inf(1),
		admitted: math.Inf(1), control: math.Inf(1),
	}
	if b.admission, err = newAdmission(b.authenticator); err != nil {
		return nil, err
	}
	for _, k := range held {
		b.held[sha256.Sum256([]byte(k))] = new(authn.Key)
	}
	// Headers lie in memory in the order in which they are used, which is not that of the keys: what is measured is the
	// lookup of a key that was not used lately, not the fetching of the header, which a server has just read.
	rand.New(random).Shuffle(n, func(i, j int) { held[i], held[j] = held[j], held[i] })
	same := func(k string) string { return k }
	b.hits, b.misses = headersOf(held, same), headersOf(strange, same)
	b.typos = headersOf(held, func(k string) string {
		last := "0"
		if strings.HasSuffix(k, last) {
			last = "1"
		}
		return k[:len(k)-1] + last
	})
	b.short = headersOf(held, func(k string) string { return k[:len(k)-1] })
	return b, nil
}

func newAuthenticator(index *authn.Index, format key.Format) *authn.Authenticator {
	return authn.NewAuthenticator(authn.Options{
		Index: index, Format: format, Environment: key.Live, Clock: clock.RealClock{},
		Serving:       func(time.Time) bool { return true },
		CommitTimeout: time.Second,
	})
}

// newAdmission is what requests pass, with a rate that nobody reaches.
func newAdmission(a *authn.Authenticator) (*admission.Admission, error) {
	limits, err := limit.NewCallers(limit.Options{Default: rate.Rate{Requests: 1_000_000, Window: time.Second}})
	if err != nil {
		return nil, err
	}
	return admission.New(admission.Options{
		Authenticator: a, Limits: limits, Failures: limit.NewAddresses(rate.Rate{}),
	})
}

// measure takes every time once more.
func (b *authBed) measure() {
	outcome := func(want error) func([]string) bool {
		f := new(authn.Flight)
		return func(h []string) bool {
			*f = authn.Flight{}
			err := b.authenticator.Admit(context.Background(), h, f)
			if err == nil {
				err = f.End()
			}
			return err == want //nolint:errorlint // a bare constant; errors.Is would be measured too
		}
	}
	b.control = min(
		b.control,
		each(b.hits, func(h []string) bool { return b.held[sha256.Sum256([]byte(h[0][len("Bearer "):]))] != nil }),
	)
	b.hit = min(b.hit, each(b.hits, outcome(nil)))
	b.admitted = min(b.admitted, each(b.hits, b.admit()))
	b.miss = min(b.miss, each(b.misses, outcome(authn.Unknown)))
	b.checksum = min(b.checksum, each(b.typos, outcome(authn.Malformed)))
	b.malformed = min(b.malformed, each(b.short, outcome(authn.Malformed)))
}

// admit lets a request in that needs a scope, and ends it.
func (b *authBed) admit() func([]string) bool {
	r, now := new(admission.Admitted), time.Now()
	need := admission.Need{Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsRead}
	return func(h []string) bool {
		*r = admission.Admitted{}
		now = now.Add(time.Microsecond) // the rate is a million a second
		err := b.admission.Admit(context.Background(), now, admission.Credentials{Authorization: h}, need, r)
		return err == nil && r.End() == nil
	}
}

func (b *authBed) allocations() float64 {
	f := new(authn.Flight)
	return allocationsOf(b.hits, func(h []string) bool {
		*f = authn.Flight{}
		return b.authenticator.Admit(context.Background(), h, f) == nil && f.End() == nil
	})
}

func (b *authBed) admissionAllocations() float64 { return allocationsOf(b.hits, b.admit()) }

func allocationsOf(h headers, try func([]string) bool) float64 {
	i, value := 0, make([]string, 1)
	return testing.AllocsPerRun(1000, func() {
		value[0] = h.at(i)
		if !try(value) {
			panic("bench: a key was not let in")
		}
		i++
	})
}

// each returns the nanoseconds that try takes for one header. A wrong outcome ends the program: it would be a figure of
// something else.
func each(h headers, try func([]string) bool) float64 {
	const least = 200_000
	n, value := max(h.len(), least), make([]string, 1)
	began := time.Now()
	for i := range n {
		value[0] = h.at(i)
		if !try(value) {
			panic("bench: a header was not treated as it should be")
		}
	}
	return float64(time.Since(began)) / float64(n)
}

// headers are the Authorization headers of keys, one behind the other in memory, all of one length.
type headers struct {
	text string
	size int
}

func headersOf(keys []string, change func(string) string) headers {
	var text strings.Builder
	for _, k := range keys {
		text.WriteString("Bearer " + change(k))
	}
	return headers{text.String(), text.Len() / len(keys)}
}

func (h headers) len() int { return len(h.text) / h.size }

func (h headers) at(i int) string {
	i %= h.len()
	return h.text[i*h.size : (i+1)*h.size]
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
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:]},
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
