// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// metrics have platforms and states for labels, never an account or an organization.
type metrics struct {
	accounts *prometheus.GaugeVec
	renewals *prometheus.CounterVec
	goodbyes *prometheus.CounterVec
}

// refreshed is the outcome of a refresh that went well; the others are codes of failures.
const refreshed = "refreshed"

// What becomes of what opened an account, when that was disconnected. Here it is deleted in any case.
const (
	revoked    = "revoked"    // the platform takes it no more
	refused    = "refused"    // the platform did not do so, or was away: it expires by itself
	impossible = "impossible" // the platform was not told: there is no way to, or nothing left to tell
)

// newMetrics makes what docs/observability.md lists. Operators' alerts go by these names and labels.
func newMetrics() metrics {
	return metrics{
		accounts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lmp_accounts",
			Help: "Accounts by platform and state, when last counted; those that were disconnected, as long as they are " +
				"remembered. Each replica counts all of them.",
		}, []string{"platform", "state"}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_account_refreshes_total",
			Help: "Refreshes of what opens accounts, by platform and outcome: refreshed, or the code of the failure.",
		}, []string{"platform", "outcome"}),
		goodbyes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_accounts_disconnected_total",
			Help: "Accounts that were disconnected, by platform and what became of the access there: revoked; refused, also " +
				"by a platform that is away; impossible to take back.",
		}, []string{"platform", "outcome"}),
	}
}

// register also begins the counters that say that all is well: what is not there can't be compared.
func (m metrics) register(r prometheus.Registerer, platforms platform.List) error {
	for _, p := range platforms {
		m.renewals.WithLabelValues(string(p.Name), refreshed)
		for _, outcome := range []string{revoked, refused, impossible} {
			m.goodbyes.WithLabelValues(string(p.Name), outcome)
		}
	}
	for _, c := range []prometheus.Collector{m.accounts, m.renewals, m.goodbyes} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of connections: %w", err)
		}
	}
	return nil
}

// renewed counts a refresh that has ended. What is no failure of the platform is a mistake, or an outage, of ours.
func (m metrics) renewed(name platform.Name, err error) {
	outcome := refreshed
	var failure *platform.Failure
	switch {
	case errors.As(err, &failure):
		// It is one of ours (package platform), whatever a server has said. So there are few values of the label.
		outcome = failure.Code
	case err != nil:
		outcome = platform.CodeInternalError
	}
	m.renewals.WithLabelValues(string(name), outcome).Inc()
}

// disconnected counts an account that is gone. One of a platform that this version does not know has no label.
func (k *Keeper) disconnected(name platform.Name, outcome string) {
	if _, known := k.o.Platforms.Get(name); known {
		k.metrics.goodbyes.WithLabelValues(string(name), outcome).Inc()
	}
}

// count counts the connections. States without any are 0, so that an alert ends. The times are the same as StateOf's.
func (k *Keeper) count(ctx context.Context) error {
	now := k.o.Clock.Now()
	counts, err := k.work.CountConnections(ctx, now, now.Add(ExpiringWithin))
	if err != nil {
		return fmt.Errorf("count accounts: %w", err)
	}
	sums := map[platform.Name]map[State]int{}
	for _, p := range k.o.Platforms {
		sums[p.Name] = map[State]int{}
	}
	for _, c := range counts {
		// A label that nobody sets back to 0 would stay.
		if sums[c.Platform] == nil { // of a platform that this version does not know
			continue
		}
		sums[c.Platform][stateOf(c.Standing)] += c.Accounts
	}
	for name, of := range sums {
		for _, state := range States {
			k.metrics.accounts.WithLabelValues(string(name), string(state)).Set(float64(of[state]))
		}
	}
	return nil
}
