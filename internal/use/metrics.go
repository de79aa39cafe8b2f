// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import "github.com/prometheus/client_golang/prometheus"

// metrics have no labels but an outcome: which key was used is for pages, not for time series. The gauge shows what a
// page does not: counts that wait because the database is away, or because more keys are used than batches are written.
type metrics struct {
	waiting prometheus.Gauge
	writes  *prometheus.CounterVec
}

// What becomes of a transaction.
const (
	written = "written"
	failed  = "failed"
)

func newMetrics() metrics {
	return metrics{
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lmp_key_use_waiting",
			Help: "Keys that were used and whose use this replica has still to write, when last looked at.",
		}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_key_use_writes_total",
			Help: "Transactions that write what up to a thousand keys were used for, by outcome: written, or failed.",
		}, []string{"outcome"}),
	}
}

// register also begins both counters: what is not there can't be compared.
func (m metrics) register(r prometheus.Registerer) error {
	for _, outcome := range []string{written, failed} {
		m.writes.WithLabelValues(outcome)
	}
	if err := r.Register(m.waiting); err != nil {
		return err
	}
	return r.Register(m.writes)
}

// count counts a transaction by how it ended. One that may have been committed, and was not confirmed, counts as
// failed.
func (m metrics) count(err error) {
	outcome := written
	if err != nil {
		outcome = failed
	}
	m.writes.WithLabelValues(outcome).Inc()
}
