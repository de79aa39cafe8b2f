// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// quotaWatch tells operators who is at a quota: the log names organizations, and metrics, whose labels are bounded, say
// how many there are.
type quotaWatch struct {
	logger   *slog.Logger
	clock    clock.PassiveClock
	refusals *prometheus.CounterVec
	reached  *prometheus.GaugeVec
	most     *prometheus.GaugeVec

	mu    sync.Mutex      // refusals come from any request's goroutine
	said  map[string]bool // by organization and resource
	since time.Time       // of said
}

// sayAgainAfter is how often the log names an organization for one resource: whoever is refused asks again at once.
const sayAgainAfter = time.Hour

func newQuotaWatch(o Options) (*quotaWatch, error) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"resource"})
	}
	w := &quotaWatch{
		logger: o.Logger, clock: o.Clock, said: map[string]bool{},
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_quota_refusals_total", Help: "Writes refused because the organization has as much as it may.",
		}, []string{"resource"}),
		reached: gauge("lmp_quota_organizations_reached", "Organizations that have as much of a resource as they may, "+
			"when last looked."),
		most: gauge("lmp_quota_use_ratio", "The largest share of its quota that any organization uses, when last looked."),
	}
	quotas := gauge("lmp_quota", "How much of a resource one organization may have.")
	for _, r := range Resources {
		if quota, bounded := o.Quotas[r]; bounded {
			quotas.WithLabelValues(string(r)).Set(float64(quota))
			w.refusals.WithLabelValues(string(r)) // there from the start, so that a rate of it is known
		}
	}
	if o.Registerer == nil {
		return w, nil
	}
	for _, c := range []prometheus.Collector{w.refusals, w.reached, w.most, quotas} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of quotas: %w", err)
		}
	}
	return w, nil
}

// refused counts a refusal, and says whose it was, once in a while.
func (w *quotaWatch) refused(organization string, e *QuotaError) {
	w.refusals.WithLabelValues(string(e.Resource)).Inc()
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.clock.Now(); now.Sub(w.since) >= sayAgainAfter {
		w.since = now
		clear(w.said) // all at once: it holds no more than were refused within the hour
	}
	id := organization + " " + string(e.Resource)
	if w.said[id] {
		return
	}
	w.said[id] = true
	w.logger.Warn("an organization has reached its quota, and is refused", "organization", organization,
		"resource", e.Resource, "used", e.Used, "quota", e.Quota)
}

// usageAtQuota tells, for each resource, how many organizations have as much as the quota, and the most that any has.
var usageAtQuota = declareGlobal(`SELECT ` + atQuota() + ` FROM usage`)

func atQuota() string {
	list := make([]string, len(Resources))
	for i, r := range Resources {
		list[i] = fmt.Sprintf("COALESCE(SUM(CASE WHEN %[1]s >= ? THEN 1 ELSE 0 END), 0), COALESCE(MAX(%[1]s), 0)", r)
	}
	return strings.Join(list, ", ")
}

// scanAtQuota reads the columns of usageAtQuota.
func scanAtQuota(rows *sql.Rows) ([]int64, error) {
	numbers := make([]int64, 2*len(Resources))
	into := make([]any, len(numbers))
	for i := range numbers {
		into[i] = &numbers[i]
	}
	return numbers, rows.Scan(into...)
}

// MeasureUsage sets the metrics that tell how near organizations are to their quotas. usage has a row for each of them.
func (w *Work) MeasureUsage(ctx context.Context) error {
	if len(w.db.quotas) == 0 {
		return nil
	}
	quotas := make([]any, len(Resources))
	for i, r := range Resources {
		// One statement for all: what has no quota is asked about too, and its numbers are left out below.
		quotas[i] = max(1, w.db.quotas[r])
	}
	numbers, err := one(readAll(ctx, w.db, session{pool: w.db.reader}, usageAtQuota, scanAtQuota, quotas...))
	if err != nil {
		return fmt.Errorf("measure what organizations have: %w", err)
	}
	for i, r := range Resources {
		if quota, bounded := w.db.quotas[r]; bounded {
			w.db.quotaWatch.reached.WithLabelValues(string(r)).Set(float64(numbers[2*i]))
			w.db.quotaWatch.most.WithLabelValues(string(r)).Set(float64(numbers[2*i+1]) / float64(quota))
		}
	}
	return nil
}
