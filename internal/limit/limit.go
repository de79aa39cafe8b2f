// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limit holds callers to their rates: keys by what package authn counts in this process or, if Redis is
// configured, across all of them; and addresses that fail to authenticate.
package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/letmepost/letmepost-operator/internal/authn"
)

// Options say how keys are limited. Default is required.
type Options struct {
	// Default is the rate of keys that have none of their own and whose Profile has none.
	Default authn.Rate
	// RedisURL is "redis://…" or "rediss://…"; "": each process limits by itself.
	RedisURL   string
	Registerer prometheus.Registerer
	// Logger is told when Redis goes away, and when it is back; nil: nobody is.
	Logger *slog.Logger
}

// Keys limits keys.
type Keys struct {
	otherwise authn.Rate
	redis     *shared // nil: there is none
	fallbacks prometheus.Counter
}

// NewKeys returns a limiter. Redis is not reached before the first request.
func NewKeys(o Options) (*Keys, error) {
	k := &Keys{
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
		k.redis = newShared(options, logger)
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(k.fallbacks); err != nil {
			return nil, fmt.Errorf("register the metrics of rate limits: %w", err)
		}
	}
	return k, nil
}

// Take takes one request out of the allowance of the caller's key. While Redis can't be asked, this process limits by
// itself.
func (k *Keys) Take(ctx context.Context, caller authn.Identity, now time.Time) authn.Allowance {
	rate := caller.Rate(k.otherwise)
	if k.redis == nil || rate.Unlimited() {
		return caller.Key.Take(rate, now)
	}
	allowance, ok := k.redis.take(ctx, caller.Key.ID(), rate, now)
	if !ok {
		k.fallbacks.Inc()
		return caller.Key.Take(rate, now)
	}
	if allowance.Allowed {
		// So that, should Redis go away, its going does not hand out what has been used up here already.
		caller.Key.Take(rate, now)
	}
	return allowance
}

// Close closes the connections to Redis.
func (k *Keys) Close() error {
	if k.redis == nil {
		return nil
	}
	if err := k.redis.client.Close(); err != nil {
		return fmt.Errorf("close the connections to Redis: %w", err)
	}
	return nil
}
