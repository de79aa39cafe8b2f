// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// Bounds of what whoever reaches a listener can make it hold. No key is needed for any of it.
const (
	// DefaultConnections is how many connections are open at once. Each takes up to some 60 kB, with a header that does
	// not come to its end: together that is a quarter of the memory that the chart gives a replica. Proxies keep few
	// connections to each replica, and send many requests over each.
	DefaultConnections = 2000

	// adminConnections is for metrics and probes: some kubelets and Prometheus servers.
	adminConnections = 100

	// headerBytes bounds a header, all of it: a key, a cookie and what proxies add take 2 KiB.
	headerBytes = 16 << 10
	// maxHeaderBytes is what net/http has to be told for that: it reads 4 KiB more.
	maxHeaderBytes = headerBytes - 4<<10

	// Of HTTP/2: requests at once on one connection, and what is taken of bodies that nobody has begun to read.
	streamsAtOnce = 100
	receiveBuffer = 256 << 10
	writeStall    = 30 * time.Second
)

// Bounds of what is read of a request that has its answer already.
const (
	DefaultDiscard = 64 << 20         // bytes
	discardWithin  = 5 * time.Minute  // a large upload over a slow line
	discardStall   = 5 * time.Second  // without a byte
	expectStall    = time.Second      // of a client that waits for 100 Continue, and will not send
	closingBytes   = 4 << 20          // of a connection that net/http closes
	closingWithin  = 10 * time.Second // likewise
	refusingAtOnce = 64
	retryAfter     = 2 // seconds
)

// Limits are what a server bounds beside its timeouts. The zero Limits, with a Clock, are the defaults.
type Limits struct {
	Connections int                // at once, and requests at once; 0: DefaultConnections
	Discard     int64              // bytes that are read of a request which has its answer; 0: DefaultDiscard
	Clock       clock.PassiveClock // required
	// Overloaded tells whether the process is so short of memory that it takes no more requests. Optional.
	Overloaded func() bool
	// Busy is the body, JSON, of the 503 of whoever there is no room for. Optional.
	Busy []byte
	// Registerer is given the metrics. Optional.
	Registerer prometheus.Registerer

	draining *atomic.Bool
}

func (l *Limits) complete() {
	if l.Connections == 0 {
		l.Connections = DefaultConnections
	}
	if l.Discard == 0 {
		l.Discard = DefaultDiscard
	}
	if l.Overloaded == nil {
		l.Overloaded = func() bool { return false }
	}
	if l.draining == nil {
		l.draining = new(atomic.Bool)
	}
}

// full answers a request that there is no room for.
func (l *Limits) full() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Retry-After"] = []string{strconv.Itoa(retryAfter)}
		h["Content-Length"] = []string{strconv.Itoa(len(l.Busy))}
		h["Content-Type"] = []string{"application/json"}
		h["Cache-Control"] = []string{"no-store"}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(l.Busy) //nolint:gosec // it is the same for everybody.
	})
}

// fullText is what full says, for a connection that no request is read from.
func (l *Limits) fullText() []byte {
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Type: application/json\r\n"+
		"Cache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", retryAfter, len(l.Busy), l.Busy)
}

// leftover is what is read of r once it has its answer.
func (l *Limits) leftover(r *http.Request) leftover {
	o := leftover{
		bytes: l.Discard, within: discardWithin, stall: discardStall, clock: l.Clock, ends: l.draining.Load,
	}
	if r.Header["Expect"] != nil {
		o.stall = expectStall
	}
	return o
}

// closing is what is read of a connection that is about to be closed.
func (l *Limits) closing() leftover {
	return leftover{
		bytes: closingBytes, within: closingWithin, stall: expectStall, clock: l.Clock, ends: l.draining.Load,
	}
}

// reason is why somebody is answered 503 unread.
type reason string

const (
	byConnections reason = "connections" // all of them are being answered
	byRequests    reason = "requests"
	byMemory      reason = "memory"
)

// metrics are what is turned away. docs/observability.md has a row for each.
type metrics struct {
	shed    map[activity]prometheus.Counter
	refused map[reason]prometheus.Counter
}

// newMetrics makes the metrics, and registers them if there is a registerer. open counts the connections.
func newMetrics(registerer prometheus.Registerer, open func() int) (*metrics, error) {
	shed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_http_connections_shed_total",
		Help: "Connections of the API that were closed to make room for others, by what they were at.",
	}, []string{"activity"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_http_overload_refusals_total",
		Help: "Connections and requests answered 503 unread, by what there was too much of.",
	}, []string{"reason"})
	m := &metrics{
		shed: map[activity]prometheus.Counter{
			idle: shed.WithLabelValues("idle"), lingers: shed.WithLabelValues("answered"),
			sending: shed.WithLabelValues("header"),
		},
		refused: map[reason]prometheus.Counter{},
	}
	for _, r := range []reason{byConnections, byRequests, byMemory} {
		m.refused[r] = refused.WithLabelValues(string(r))
	}
	if registerer == nil {
		return m, nil
	}
	return m, errors.Join(registerer.Register(shed), registerer.Register(refused),
		registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lmp_http_connections", Help: "Connections to the API that are open.",
		}, func() float64 { return float64(open()) })))
}
