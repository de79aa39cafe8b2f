// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// metrics have labels of bounded number: platforms come from the catalog, and codes are constants. Never an account, an
// organization or a key.
type metrics struct {
	posts    *prometheus.CounterVec   // by platform and outcome: "published", or the failure's code
	duration *prometheus.HistogramVec // by platform
	lost     prometheus.Counter
	overdue  prometheus.Gauge
}

// newMetrics makes and registers them. Names, labels and help are an interface, which docs/observability.md lists.
func newMetrics(r prometheus.Registerer) (metrics, error) {
	m := metrics{
		posts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_posts_published_total",
			Help: "Attempts to publish a post, by platform and outcome: published, or the code of the failure.",
		}, []string{"platform", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lmp_publish_duration_seconds",
			Help: "How long attempts to publish a post took, by platform.",
			// Up to defaultTimeout: what takes longer is cut off.
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{"platform"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmp_posts_outcome_unknown_total",
			Help: "Attempts of processes that died on the way, which this process has ended.",
		}),
		overdue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lmp_posts_overdue",
			Help: "Posts that should have been published some time ago and are still queued, when last looked; " +
				"counted up to a hundred.",
		}),
	}
	// An injected registerer, and not the global one: tests run several publishers in one process.
	for _, c := range []prometheus.Collector{m.posts, m.duration, m.lost, m.overdue} {
		if err := r.Register(c); err != nil {
			return metrics{}, fmt.Errorf("register the metrics of publishing: %w", err)
		}
	}
	return m, nil
}

// published counts an attempt that has ended, whatever its end.
func (m metrics) published(name platform.Name, failure *platform.Failure, took time.Duration) {
	m.posts.WithLabelValues(string(name), outcomeOf(failure)).Inc()
	m.duration.WithLabelValues(string(name)).Observe(took.Seconds())
}

// outcomeOf is the label of an attempt's outcome: alerts tell a platform that is away (platform_unavailable) from posts
// that are no good (platform_rejected).
func outcomeOf(failure *platform.Failure) string {
	if failure == nil {
		return "published"
	}
	return failure.Code
}
