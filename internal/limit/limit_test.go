// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit_test

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// now is when the tests ask, by the clock of those who ask; Redis has its own.
var now = authntest.Epoch.AddDate(0, 0, 1)

// admitted returns one ApiKey as two processes know it.
func sameKey(t testing.TB) (here, there *caller.Caller) {
	t.Helper()
	k, s := authntest.Minted(t, authntest.Format(t), key.Live)
	var callers [2]*caller.Caller
	for i := range callers {
		a := authntest.Authenticator(t, authntest.Index(t, k), key.Live, clocktesting.NewFakePassiveClock(now))
		id, err := authntest.Caller(a, now, []string{"Bearer " + s})
		if err != nil {
			t.Fatal(err)
		}
		callers[i] = id
	}
	return callers[0], callers[1]
}

func keys(t testing.TB, each rate.Rate, url string) (*limit.Callers, *prometheus.Registry) {
	t.Helper()
	return keysWithin(t, each, url, time.Minute)
}

// keysWithin bounds how long a request may wait for Redis.
func keysWithin(
	t testing.TB, each rate.Rate, url string, within time.Duration,
) (*limit.Callers, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	k, err := limit.NewCallersWithin(limit.Options{Default: each, RedisURL: url, Registerer: registry}, within)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k, registry
}

func fallbacks(t testing.TB, registry *prometheus.Registry, want int) {
	t.Helper()
	const help = `# HELP lmp_rate_limit_fallbacks_total Requests that were limited by this process alone, because Redis could not be asked.
# TYPE lmp_rate_limit_fallbacks_total counter
lmp_rate_limit_fallbacks_total `
	if err := testutil.GatherAndCompare(registry, strings.NewReader(help+strconv.Itoa(want)+"\n")); err != nil {
		t.Error(err)
	}
}

func TestLocal(t *testing.T) {
	id, _ := sameKey(t)
	each := rate.Rate{Requests: 2, Window: time.Minute}
	k, registry := keys(t, each, "")
	for i, want := range []rate.Allowance{
		{Allowed: true, Rate: each, Remaining: 1, Reset: 30 * time.Second},
		{Allowed: true, Rate: each, Reset: time.Minute},
		{Rate: each, Reset: time.Minute, RetryAfter: 30 * time.Second},
	} {
		if diff := cmp.Diff(want, k.Take(t.Context(), id, now)); diff != "" {
			t.Errorf("request %d (-want +got):\n%s", i, diff)
		}
	}
	fallbacks(t, registry, 0)
}

func TestUnlimited(t *testing.T) {
	id, _ := sameKey(t)
	for _, url := range []string{"", "redis://127.0.0.1:1"} {
		k, registry := keys(t, rate.Rate{}, url)
		if got := k.Take(t.Context(), id, now); got != (rate.Allowance{Allowed: true}) {
			t.Errorf("with Redis at %q: %+v", url, got)
		}
		fallbacks(t, registry, 0)
	}
}

// TestRedisURL: a URL that can't be read is told of, but not shown: it may hold a password.
func TestRedisURL(t *testing.T) {
	for _, url := range []string{"http://x:hunter2@example.com", "redis://x:hunter2/y@example.com:port", "redis://x:hunter2@h:1/zero", "hunter2", "redis://:hunter2\n@h"} {
		_, err := limit.NewCallers(limit.Options{RedisURL: url, Registerer: prometheus.NewRegistry()})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	each := rate.Rate{Requests: 1, Window: time.Minute}
	for _, tc := range []struct {
		reason        string
		first, second string
		shared        bool
	}{
		{"the same", "192.0.2.1", "192.0.2.1", true},
		{"another", "192.0.2.1", "192.0.2.2", false},
		{"IPv4 within IPv6", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"another within IPv6", "::ffff:192.0.2.2", "::ffff:192.0.2.1", false},
		{"one /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		{"two of them", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"two interfaces", "fe80::1%eth0", "fe80::1%eth1", true},
	} {
		a := limit.NewAddresses(each)
		if got := a.Take(netip.MustParseAddr(tc.first), now); !got.Allowed {
			t.Errorf("%s: the first is refused: %+v", tc.reason, got)
		}
		if got := a.Take(netip.MustParseAddr(tc.second), now); got.Allowed == tc.shared {
			t.Errorf("%s: %+v, want them to share: %v", tc.reason, got, tc.shared)
		}
	}
	unlimited := limit.NewAddresses(rate.Rate{})
	for range 3 {
		if got := unlimited.Take(netip.MustParseAddr("::1"), now); got != (rate.Allowance{Allowed: true}) {
			t.Errorf("unlimited: %+v", got)
		}
	}
	if got := limit.NewAddresses(each).Take(netip.Addr{}, now); !got.Allowed {
		t.Errorf("no address at all: %+v", got)
	}
}

// TestAddressesAtOnce: as many as the each says, whoever counts; and the memory for them is bounded.
func TestAddressesAtOnce(t *testing.T) {
	a := limit.NewAddresses(rate.Rate{Requests: 100, Window: time.Hour})
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if a.Take(netip.MustParseAddr("2001:db8::1"), now).Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if allowed.Load() != 100 {
		t.Errorf("%d allowed, want 100", allowed.Load())
	}
	for i := range 20_000 {
		a.Take(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), now)
	}
	if n := a.Len(); n != 16_384 {
		t.Errorf("%d addresses are remembered, want 16384", n)
	}
}

// takes counts how many of n concurrent requests are allowed, half of them here and half of them there.
func takes(ctx context.Context, n int, here, there func(context.Context) rate.Allowance) int64 {
	var allowed atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			take := here
			if i%2 == 0 {
				take = there
			}
			if take(ctx).Allowed {
				allowed.Add(1)
			}
		})
	}
	all.Wait()
	return allowed.Load()
}

func count(t testing.TB, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return int(families[0].GetMetric()[0].GetCounter().GetValue())
}
