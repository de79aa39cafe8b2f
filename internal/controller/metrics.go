// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

var apiKeysDesc = prometheus.NewDesc("lmp_apikeys",
	"ApiKeys by environment and by the reason of their Ready condition.",
	[]string{"environment", "reason"}, nil)

// NewCollector returns a collector that counts the ApiKeys in the cache of reader when it is scraped. A gauge that
// events move up and down would be wrong for good after the first event that it misses. It counts on every replica,
// also on those that stand by: each has the cache.
func NewCollector(reader client.Reader) prometheus.Collector { return collector{reader} }

type collector struct{ reader client.Reader }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) { ch <- apiKeysDesc }

// Collect implements prometheus.Collector. Both labels have a fixed set of values: names of ApiKeys are no labels,
// because tenants could make any number of time series with them. An error fails the scrape: a count of no keys at all
// would be believed.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	var keys v1alpha1.ApiKeyList
	if err := c.reader.List(context.Background(), &keys, client.UnsafeDisableDeepCopy); err != nil {
		ch <- prometheus.NewInvalidMetric(apiKeysDesc, err)
		return
	}
	// A list without copies: it reads some 100,000 keys at each scrape, and changes none.
	type labels struct{ environment, reason string }
	counts := map[labels]int{}
	for i := range keys.Items {
		k := &keys.Items[i]
		reason := v1alpha1.ReasonPending
		if ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			reason = ready.Reason
		}
		counts[labels{string(k.Spec.Environment), reason}]++
	}
	for l, n := range counts {
		ch <- prometheus.MustNewConstMetric(apiKeysDesc, prometheus.GaugeValue, float64(n), l.environment, l.reason)
	}
}

var replicasDesc = prometheus.NewDesc("lmp_replicas",
	"API replicas by the state of their Lease: deletions wait for the live ones; the expired ones accept nothing.",
	[]string{"state"}, nil)

// replicaCollector counts the replicas that the leading controller has seen. One that stands by has none. So a query is
// to sum over the processes.
type replicaCollector struct{ barrier *revocation.Barrier }

// Describe implements prometheus.Collector.
func (replicaCollector) Describe(ch chan<- *prometheus.Desc) { ch <- replicasDesc }

// Collect implements prometheus.Collector.
func (c replicaCollector) Collect(ch chan<- prometheus.Metric) {
	unexpired, expired := c.barrier.Replicas()
	ch <- prometheus.MustNewConstMetric(replicasDesc, prometheus.GaugeValue, float64(unexpired), "live")
	ch <- prometheus.MustNewConstMetric(replicasDesc, prometheus.GaugeValue, float64(expired), "expired")
}
