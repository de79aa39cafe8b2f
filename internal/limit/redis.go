// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/letmepost/letmepost-operator/internal/rate"
)

const (
	// redisWithin bounds all that a request may wait for Redis: for a connection, for a new one, and for the answer.
	redisWithin = 100 * time.Millisecond
	// redisPause is how long Redis is left alone after it has failed, so that an outage does not slow down every request.
	redisPause = time.Second
)

// shared is the allowances of all keys, as all processes know them: the generic cell rate algorithm in Redis, by its
// clock, one entry for each actor and rate, which goes away by itself. An entry is named after the actor. The name
// includes the rate, so that a changed rate begins with a full allowance and not with what another one left.
type shared struct {
	client  *redis.Client
	limiter *redis_rate.Limiter
	within  time.Duration // see redisWithin
	logger  *slog.Logger
	// resume is when Redis may be asked again, in Unix nanoseconds; 0: it did not fail.
	resume atomic.Int64
}

// newShared sets its limits over those of the URL: how long a request may wait for Redis is not the URL's to say.
func newShared(o *redis.Options, within time.Duration, logger *slog.Logger) *shared {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = within, within, within, within
	o.ContextTimeoutEnabled = true
	o.MaxRetries, o.DialerRetries = -1, 1 // -1 is none: a second try could take a request twice, and takes time
	// What is not needed for an answer costs round trips before the first one.
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	redis.SetLogger(quiet{})
	client := redis.NewClient(o)
	return &shared{client: client, limiter: redis_rate.NewLimiter(client), within: within, logger: logger}
}

// take takes one request out of an actor's allowance. Not ok: Redis can't be asked, and nothing was taken as far as is
// known.
func (s *shared) take(ctx context.Context, actor string, own rate.Rate, now time.Time) (a rate.Allowance, ok bool) {
	ask, afterFailure := s.mayAsk(now)
	if !ask {
		return rate.Allowance{}, false
	}
	// A caller who goes away must not look like an outage.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer cancel()
	limit := redis_rate.Limit{Rate: int(own.Requests), Burst: int(own.Requests), Period: own.Window}
	result, err := s.limiter.Allow(ctx, fmt.Sprintf("%s:%d/%s", actor, own.Requests, own.Window), limit)
	if err != nil {
		if s.resume.Swap(now.Add(redisPause).UnixNano()) == 0 {
			s.logger.Warn("Redis can't be asked: this process limits its callers by itself", "error", err)
		}
		return rate.Allowance{}, false
	}
	if afterFailure {
		s.resume.Store(0)
		s.logger.Info("Redis is back: callers are limited across all processes")
	}
	return allowanceOf(result, own), true
}

// mayAsk tells whether Redis may be asked at now. After a failure one request at a time finds out whether it is back.
func (s *shared) mayAsk(now time.Time) (ask, afterFailure bool) {
	resume := s.resume.Load()
	if resume == 0 {
		return true, false
	}
	// Further ahead than it was ever set: the clock has been set back.
	if wait := resume - now.UnixNano(); wait > 0 && wait <= int64(redisPause) {
		return false, true
	}
	return s.resume.CompareAndSwap(resume, now.Add(redisPause).UnixNano()), true
}

// allowanceOf is what Redis has answered. It reckons in seconds as floating-point numbers, whose last digit is worth 60
// nanoseconds, and cuts off what remains to a whole number: that is reckoned anew, with a microsecond to spare.
func allowanceOf(r *redis_rate.Result, own rate.Rate) rate.Allowance {
	a := rate.Allowance{Allowed: r.Allowed > 0, Rate: own, Reset: r.ResetAfter}
	if !a.Allowed {
		a.RetryAfter = max(r.RetryAfter, 1) // it is refused, if only by a rounding
		return a
	}
	interval := max(own.Window/time.Duration(own.Requests), 1)
	a.Remaining = int64((own.Window - r.ResetAfter + min(time.Microsecond, interval/2)) / interval)
	a.Remaining = min(max(a.Remaining, 0), own.Requests-1)
	return a
}

// quiet keeps go-redis from writing lines of its own to stderr, one for each connection that fails.
type quiet struct{}

// Printf writes nothing.
func (quiet) Printf(context.Context, string, ...any) {}
