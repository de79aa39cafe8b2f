// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

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

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// rounds is how often each side of a ratio is measured; the best of each counts, because noise only ever adds.
const rounds = 5

// BenchmarkAuthenticate measures how a key is recognised (Identify: header, hash, lookup, lifecycle) beside what it
// can't do without, one SHA-256 and one map lookup; and admission, which is what a request passes: the same with the
// fence, the registry of flights, the scope and the rate. Those do something that recognising a key does not (another
// reading of the clock, the key's own lines of memory, a count), so the two are told side by side, and what the room
// itself costs is told against the same steps called one by one. The sizes are measured in turns too: their ratio is a
// figure.
//
// It stands here because nobody outside this room can recognise a key without the fence. `make bench` runs it once, and
// makes ratios of what it reports: nanoseconds, by what was tried and the number of keys.
func BenchmarkAuthenticate(b *testing.B) {
	beds := map[int]*bed{1_000: nil, 10_000: nil, 100_000: nil, 1_000_000: nil}
	for n := range beds {
		beds[n] = newBed(b, n)
	}
	for b.Loop() {
		for range rounds {
			for _, bed := range beds {
				bed.measure(b)
			}
		}
	}
	for n, bed := range beds {
		for what, value := range map[string]float64{
			"bare-ns": bed.bare, "hit-ns": bed.hit, "miss-ns": bed.miss, "checksum-ns": bed.checksum,
			"malformed-ns": bed.malformed, "admitted-ns": bed.admitted, "steps-ns": bed.steps, "heap-B": bed.heap,
			"hit-allocs": bed.allocations(bed.identified(nil)), "admitted-allocs": bed.allocations(bed.admit()),
		} {
			b.ReportMetric(value, fmt.Sprintf("%s/%d", what, n))
		}
	}
}

// bed is an index of some size, the headers to try on it, and the best times so far, in nanoseconds.
type bed struct {
	authenticator              *authn.Authenticator
	admission                  *admission.Admission
	held                       map[[sha256.Size]byte]*authn.Key // the bare lookup's
	hits, misses, typos, short headers

	hit, miss, checksum, malformed, admitted, steps, bare float64
	heap                                                  float64 // bytes a key
}

func newBed(t testing.TB, n int) *bed {
	t.Helper()
	format := authntest.Format(t)
	random := rand.NewChaCha8([32]byte{1})
	held, strange := make([]string, n), make([]string, n)
	for i := range n {
		var errHeld, errStrange error
		held[i], errHeld = format.Mint(random, key.Live)
		strange[i], errStrange = format.Mint(random, key.Live)
		if err := errors.Join(errHeld, errStrange); err != nil {
			t.Fatal(err)
		}
	}
	index := authn.NewIndex()
	before := heapInUse()
	for i, k := range held {
		index.PutKey(authntest.Resource(format, i, k))
	}
	b := &bed{
		heap:          float64(heapInUse()-before) / float64(n),
		authenticator: authntest.Authenticator(t, index, key.Live, clock.RealClock{}),
		held:          make(map[[sha256.Size]byte]*authn.Key, n),
		hit:           math.Inf(1), miss: math.Inf(1), checksum: math.Inf(1), malformed: math.Inf(1),
		admitted: math.Inf(1), steps: math.Inf(1), bare: math.Inf(1),
	}
	var err error
	if b.admission, err = newAdmission(b.authenticator); err != nil {
		t.Fatal(err)
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
	return b
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
func (b *bed) measure(t testing.TB) {
	t.Helper()
	b.bare = min(b.bare, each(t, b.hits, func(h []string) bool {
		return b.held[sha256.Sum256([]byte(h[0][len("Bearer "):]))] != nil
	}))
	b.hit = min(b.hit, each(t, b.hits, b.identified(nil)))
	b.admitted = min(b.admitted, each(t, b.hits, b.admit()))
	b.steps = min(b.steps, each(t, b.hits, b.stepByStep(t)))
	b.miss = min(b.miss, each(t, b.misses, b.identified(authn.Unknown)))
	b.checksum = min(b.checksum, each(t, b.typos, b.identified(authn.Malformed)))
	b.malformed = min(b.malformed, each(t, b.short, b.identified(authn.Malformed)))
}

// identified tells whether a header is recognised, or not for that reason.
func (b *bed) identified(want error) func([]string) bool {
	now := time.Now() // the reading that each request has
	return func(h []string) bool {
		_, err := b.authenticator.IdentifyAt(now, h)
		return err == want //nolint:errorlint // a bare constant; errors.Is would be measured too
	}
}

// admit lets a request in that needs a scope, and ends it.
func (b *bed) admit() func([]string) bool {
	r, now := new(admission.Admitted), time.Now()
	need := admission.Need{Access: admission.KeyOrSession, Scope: v1alpha1.ScopePostsRead}
	return func(h []string) bool {
		*r = admission.Admitted{}
		now = now.Add(time.Microsecond) // the rate is a million a second
		err := b.admission.Admit(context.Background(), now, admission.Credentials{Authorization: h}, need, r)
		return err == nil && r.End() == nil
	}
}

// stepByStep does what admission does, each step called by itself: what a room would cost that is nothing but an order.
func (b *bed) stepByStep(t testing.TB) func([]string) bool {
	t.Helper()
	limits, err := limit.NewCallers(limit.Options{Default: rate.Rate{Requests: 1_000_000, Window: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	f, now := new(authn.Flight), time.Now()
	return func(h []string) bool {
		*f = authn.Flight{}
		now = now.Add(time.Microsecond)
		if b.authenticator.Admit(context.Background(), now, h, f) != nil {
			return false
		}
		who := f.Caller()
		return who.Scopes.Has(v1alpha1.ScopePostsRead) && limits.Take(context.Background(), who, now).Allowed && f.End() == nil
	}
}

func (b *bed) allocations(try func([]string) bool) float64 {
	i, value := 0, make([]string, 1)
	return testing.AllocsPerRun(1000, func() {
		value[0] = b.hits.at(i)
		if !try(value) {
			panic("a header was not treated as it should be")
		}
		i++
	})
}

// each returns the nanoseconds that try takes for one header. A wrong outcome ends the benchmark: it would be a figure
// of something else.
func each(t testing.TB, h headers, try func([]string) bool) float64 {
	t.Helper()
	const least = 200_000
	n, value := max(h.len(), least), make([]string, 1)
	began := time.Now()
	for i := range n {
		value[0] = h.at(i)
		if !try(value) {
			t.Fatal("a header was not treated as it should be")
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

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
