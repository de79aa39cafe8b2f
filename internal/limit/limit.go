// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limit holds callers to their rates, as this process counts them or, if Redis is configured, all of them
// together; and addresses that fail to authenticate.
//
// redis.go is what processes share, addresses.go what is counted by address. Addresses are counted by each process
// alone, also with Redis.
package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// Options say how callers are limited. Default is required.
type Options struct {
	// Default is the rate of callers that have none of their own and whose Profile has none.
	Default rate.Rate
	// RedisURL is "redis://…" or "rediss://…"; "": each process limits by itself.
	RedisURL   string
	Registerer prometheus.Registerer
	// Logger is told when Redis goes away, and when it is back; nil: nobody is.
	Logger *slog.Logger
}

// Callers limits callers, each to their own rate. What is left is with the callers themselves (caller.Caller.Meter), so
// nothing here grows with their number.
type Callers struct {
	otherwise rate.Rate
	redis     *shared // nil: there is none
	fallbacks prometheus.Counter
}

// NewCallers returns a limiter. Redis is not reached before the first request: a process must start without it. A URL
// that can't be read is an error all the same, since that does not pass by itself.
func NewCallers(o Options) (*Callers, error) { return newCallers(o, redisWithin) }

func newCallers(o Options, within time.Duration) (*Callers, error) {
	c := &Callers{
		otherwise: o.Default,
		fallbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmp_rate_limit_fallbacks_total",
			Help: "Requests that were limited by this process alone, because Redis could not be asked.",
		}),
	}
	if o.RedisURL != "" {
		options, err := redis.ParseURL(o.RedisURL)
		if err != nil {
			// Not the error itself: it may quote the URL, and a password in it.
			return nil, errors.New("read the Redis URL: it must be redis://[user:password@]host:port[/database], or rediss://")
		}
		logger := o.Logger
		if logger == nil {
			logger = slog.New(slog.DiscardHandler)
		}
		c.redis = newShared(options, within, logger)
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(c.fallbacks); err != nil {
			return nil, fmt.Errorf("register the metrics of rate limits: %w", err)
		}
	}
	return c, nil
}

// Take takes one request out of a caller's allowance. While Redis can't be asked, this process limits by itself. It
// never fails: a limiter that is away must not close the API.
func (c *Callers) Take(ctx context.Context, who *caller.Caller, now time.Time) rate.Allowance {
	own := who.RateOr(c.otherwise)
	// A caller without a limit is not counted either: that would be a round trip for each request.
	if c.redis == nil || own.Unlimited() {
		return who.Meter.Take(own, now)
	}
	allowance, ok := c.redis.take(ctx, who.Actor.Ref(), own, now)
	if !ok {
		c.fallbacks.Inc()
		return who.Meter.Take(own, now)
	}
	if allowance.Allowed {
		// So that, should Redis go away, its going does not hand out what has been used up here already.
		who.Meter.Take(own, now)
	}
	return allowance
}

// Close closes the connections to Redis.
func (c *Callers) Close() error {
	if c.redis == nil {
		return nil
	}
	if err := c.redis.client.Close(); err != nil {
		return fmt.Errorf("close the connections to Redis: %w", err)
	}
	return nil
}
