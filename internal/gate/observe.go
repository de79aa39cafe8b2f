// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// The protocols that questions come by, as the metric has them.
const (
	overHTTP = "http"
	overGRPC = "grpc"
)

// answers counts answers, and tells the audit log of refused keys.
type answers struct {
	counters map[string]map[string]prometheus.Counter // by protocol and code: anyone can cause them, so all are made
	log      *slog.Logger
	refusals map[string]*refusals // by the class of the refusal
}

// maxEntries is how many refusals of one class are logged a second, and at once, as the API does it: requests without
// a key, which are free, don't use up the room of those with a revoked one.
const maxEntries = 100

// refusals holds entries back that are too many, and counts them. How many it has held back is told with the next
// entry of the class that is written.
type refusals struct {
	limit      *rate.Limiter
	suppressed atomic.Int64
}

// newAnswers makes the counters of all answers and the limits of all classes. None is added later, so the maps are
// read without a lock. The error is that of the metric.
func newAnswers(o Options) (*answers, error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_gate_checks_total",
		Help: "Questions of proxies that were answered, by protocol and by the code of the answer.",
	}, []string{"protocol", "answer"})
	a := &answers{counters: map[string]map[string]prometheus.Counter{}, log: o.Audit, refusals: map[string]*refusals{}}
	for _, protocol := range []string{overHTTP, overGRPC} {
		a.counters[protocol] = map[string]prometheus.Counter{}
		for _, code := range answerCodes {
			a.counters[protocol][code] = total.WithLabelValues(protocol, code)
		}
	}
	for _, class := range admission.Classes() {
		a.refusals[class] = &refusals{limit: rate.NewLimiter(maxEntries, maxEntries)}
	}
	return a, o.Registerer.Register(total)
}

// count counts an answer. One of a code that answerCodes lacks is given all the same, and is not counted: over gRPC,
// which recovers nothing, a panic would be the end of the process.
func (a *answers) count(protocol, code string) {
	if counter := a.counters[protocol][code]; counter != nil {
		counter.Inc()
	}
}

// audit writes a line of a refused key: also whose it was, if it is known, though it is refused. That a revoked key is
// still in use, and which one, is what an operator looks for.
func (a *answers) audit(
	q *question, refusal *admission.Refusal, who *caller.Caller, authorization []string, now time.Time,
) {
	of := a.refusals[refusal.Class]
	if of == nil { // not every refusal is in there
		return
	}
	if !of.limit.AllowN(now, 1) {
		of.suppressed.Add(1)
		return
	}
	actor, organization := who.Actor, who.Organization
	if who.Nobody() {
		// Only of what is written down: it takes another look at the key.
		actor, organization = q.Admission.Presented(authorization)
	}
	attrs := []any{
		"event", "request.refused", "refusal", refusal.Class, "environment", string(q.Environment),
	}
	if organization.Name != "" {
		attrs = append(attrs, "keyId", actor.ID, "key", organization.Name+"/"+actor.Name)
	}
	if n := of.suppressed.Swap(0); n > 0 {
		attrs = append(attrs, "suppressed", n)
	}
	a.log.Info("Request refused", attrs...)
}
