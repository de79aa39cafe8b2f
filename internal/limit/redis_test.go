// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/test/redis"
)

// by is Take at the real time: these tests ask a Redis that may have to be waited for.
func by(k *limit.Callers, id *caller.Caller) func(context.Context) rate.Allowance {
	return func(ctx context.Context) rate.Allowance { return k.Take(ctx, id, time.Now()) }
}

// TestRedisAcrossReplicas: two processes on one Redis allow together exactly what the each says.
func TestRedisAcrossReplicas(t *testing.T) {
	url := redis.URL(t)
	each := rate.Rate{Requests: 25, Window: time.Hour}
	here, there := sameKey(t)
	a, aMetrics := keys(t, each, url)
	b, bMetrics := keys(t, each, url)
	if got := takes(t.Context(), 100, by(a, here), by(b, there)); got != 25 {
		t.Errorf("%d of 100 allowed, want 25", got)
	}
	fallbacks(t, aMetrics, 0)
	fallbacks(t, bMetrics, 0)
}

// TestRedisIsAsLocal: all of a each at once, and what a caller is told, as in a process by itself.
func TestRedisIsAsLocal(t *testing.T) {
	url := redis.URL(t)
	for _, each := range []rate.Rate{
		{Requests: 1, Window: 24 * time.Hour},
		{Requests: 3, Window: time.Hour},
		{Requests: 7, Window: 90 * time.Minute},
		{Requests: 50, Window: 24 * time.Hour},
		{Requests: 600, Window: 24*time.Hour - time.Millisecond},
	} {
		id, _ := sameKey(t)
		k, metrics := keys(t, each, url)
		for i := range each.Requests {
			got := by(k, id)(t.Context())
			if !got.Allowed || got.Rate != each || got.Remaining != each.Requests-1-i || got.RetryAfter != 0 || !near(got.Reset, each.Window*time.Duration(i+1)/time.Duration(each.Requests)) {
				t.Fatalf("%v, request %d: %+v", each, i, got)
			}
		}
		got := by(k, id)(t.Context())
		if got.Allowed || got.Remaining != 0 || !near(got.RetryAfter, each.Window/time.Duration(each.Requests)) || !near(got.Reset, each.Window) {
			t.Errorf("%v, one too many: %+v", each, got)
		}
		fallbacks(t, metrics, 0)
	}
}

// near: Redis' clock goes on while the test asks.
func near(got, want time.Duration) bool {
	return got <= want+time.Millisecond && got >= want-time.Minute
}

// TestRedisLargeRates: what Redis reckons with floating-point numbers is not far off for the largest each there is.
func TestRedisLargeRates(t *testing.T) {
	each := rate.Rate{Requests: 1_000_000, Window: time.Second}
	id, _ := sameKey(t)
	k, metrics := keys(t, each, redis.URL(t))
	for range 50 {
		got := by(k, id)(t.Context())
		if !got.Allowed || got.Remaining < 999_900 || got.Remaining >= each.Requests || got.Reset <= 0 || got.Reset > 100*time.Microsecond {
			t.Fatalf("%+v", got)
		}
	}
	fallbacks(t, metrics, 0)
}

// TestRedisGetsIDsOnly: neither the key nor its hash leaves the process, and what is stored goes away by itself.
func TestRedisGetsIDsOnly(t *testing.T) {
	server := redis.Start(t)
	id, _ := sameKey(t)
	k, _ := keys(t, rate.Rate{Requests: 5, Window: time.Hour}, server.URL)
	by(k, id)(t.Context())
	options, err := goredis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(options)
	defer client.Close()
	names := client.Keys(t.Context(), "*").Val()
	if len(names) != 1 || names[0] != "rate:"+id.Actor.Ref()+":5/1h0m0s" {
		t.Fatalf("Redis holds %q", names)
	}
	if ttl := client.TTL(t.Context(), names[0]).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("%s stays for %s", names[0], ttl)
	}
	if value := client.Get(t.Context(), names[0]).Val(); strings.Trim(value, "0123456789.") != "" {
		t.Errorf("%s is %q, want a number", names[0], value)
	}
}

// TestRedisOutage: while Redis is away, requests go on within its time and by the local limit, and are counted; when it
// is back it is asked again.
func TestRedisOutage(t *testing.T) {
	// Long enough for an answer on a loaded machine: whoever waits longer than half of it has waited for nothing.
	const within = 2 * time.Second
	for _, tc := range []struct {
		reason string
		away   func(*redis.Server) (back func())
		then   time.Duration // when it is back, by the clock of those who ask
	}{
		{"it is killed", func(s *redis.Server) func() { s.Kill(); return func() { s.Restart(t) } }, 3 * time.Second},
		{"it hangs", func(s *redis.Server) func() { return s.Pause(t) }, 3 * time.Second},
		{"the clock is set back meanwhile", func(s *redis.Server) func() { s.Kill(); return func() { s.Restart(t) } }, -time.Hour},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			server := redis.Start(t)
			each := rate.Rate{Requests: 10, Window: time.Hour}
			id, _ := sameKey(t)
			k, metrics := keysWithin(t, each, server.URL, within)
			at := now
			for range 4 {
				if got := k.Take(t.Context(), id, at); !got.Allowed {
					t.Fatalf("%+v", got)
				}
			}
			back := tc.away(server)
			allowed, slow := 0, 0
			for range 20 {
				began := time.Now()
				if k.Take(t.Context(), id, at).Allowed {
					allowed++
				}
				if time.Since(began) > within/2 {
					slow++
				}
			}
			if allowed != 6 || slow > 2 {
				t.Errorf("%d of 20 are allowed after 4 of 10, want 6; %d had to wait, want 1", allowed, slow)
			}
			fallbacks(t, metrics, 20)
			k.Take(t.Context(), id, at.Add(1100*time.Millisecond)) // one finds out, the others do not wait
			k.Take(t.Context(), id, at.Add(1100*time.Millisecond))
			fallbacks(t, metrics, 22)

			back()
			at = at.Add(tc.then)
			k.Take(t.Context(), id, at)
			before := count(t, metrics)
			other, _ := sameKey(t)
			for range 5 {
				k.Take(t.Context(), other, at)
			}
			if after := count(t, metrics); after != before || before > 23 {
				t.Errorf("%d fallbacks and then %d, now that Redis is back", before, after)
			}
		})
	}
}

// TestRedisThatIsNotThere: nothing waits for it at the start.
func TestRedisThatIsNotThere(t *testing.T) {
	id, _ := sameKey(t)
	k, metrics := keys(t, rate.Rate{Requests: 10, Window: time.Hour}, "redis://127.0.0.1:1")
	for i := range 3 {
		if got := k.Take(t.Context(), id, now); !got.Allowed {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	fallbacks(t, metrics, 3)
}

// TestRedisCallerGone: a caller who goes away is no outage.
func TestRedisCallerGone(t *testing.T) {
	id, _ := sameKey(t)
	k, metrics := keys(t, rate.Rate{Requests: 10, Window: time.Hour}, redis.URL(t))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		k.Take(gone, id, now)
	}
	fallbacks(t, metrics, 0)
}
