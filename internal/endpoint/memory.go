// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

// DefaultBytesInFlight is what the requests of a process may hold in memory at once: an eighth of what the chart gives
// a replica.
const DefaultBytesInFlight = 64 << 20

// What requests count for, in bytes. What is answered from memory with a few hundred bytes, as a whoami is, counts for
// nothing: how many there are, the server bounds.
const (
	writeBytes  = 32 << 10  // a write: small bodies are in it, and what a connection costs that is held open
	uploadBytes = 512 << 10 // a buffer, and the beginning of an image
	streamBytes = 64 << 10
	smallAnswer = 16 << 10 // up to this one, an answer counts for nothing
	perPayload  = 3        // the bytes of a body, what is decoded from it, and what is left of smaller buffers
)

// holds is what a write counts for before anything of its body has come.
func (t *Route) holds() int64 {
	if t.upload != nil {
		return uploadBytes
	}
	return writeBytes
}

// memory bounds what requests hold in memory, of all callers together and of each organization: a half. It is by
// organization and not by key, since whoever may make one key may make a thousand.
type memory struct {
	most  int64
	mu    sync.Mutex // of the two below
	used  int64
	share map[string]int64 // by organization; those that hold something

	full, ownFull prometheus.Counter
}

// errOwnShare is no 503: it is the caller's own doing, and nobody else's trouble.
var errOwnShare = &problem.Problem{
	Kind: problem.RateLimited, Code: problem.CodeRateLimited, Rule: "organization.bytes_in_flight",
	Message:     "The organization's running requests hold as much of this server's memory as those of one may.",
	Remediation: "Send fewer or smaller requests at once. Wait the seconds of Retry-After.",
	RetryAfter:  time.Second,
}

func newMemory(most int64, registerer prometheus.Registerer) (*memory, error) {
	if most == 0 {
		most = DefaultBytesInFlight
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_http_room_refusals_total",
		Help: "Requests refused because running ones hold as much memory as they may, by whose: " +
			"those of one organization, or all.",
	}, []string{"of"})
	// Both counters from the start: a rate over a series that begins with its first event misses that event.
	m := &memory{
		most: most, share: map[string]int64{},
		full: refused.WithLabelValues("all"), ownFull: refused.WithLabelValues("organization"),
	}
	return m, errors.Join(registerer.Register(refused), registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lmp_http_bytes_in_flight", Help: "Memory that running requests are counted for.",
	}, func() float64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return float64(m.used)
	})))
}

// take gives n bytes to an organization, or a problem. Nobody waits: whoever did would hold what they have. The
// organization's own share is asked first, so that one that sends too much is told so even while the server is full.
func (m *memory) take(organization string, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.share[organization]+n > m.most/2:
		m.ownFull.Inc()
		return errOwnShare
	case m.used+n > m.most:
		m.full.Inc()
		return errBusy
	}
	m.used += n
	m.share[organization] += n
	return nil
}

// give takes back what take gave. Organizations that hold nothing are forgotten: any number of them may come by.
func (m *memory) give(organization string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if m.share[organization] -= n; m.share[organization] == 0 {
		delete(m.share, organization)
	}
}

// reserve takes room for n more bytes that the request holds until it is answered. It may be called several times: what
// is taken adds up, and release gives back all of it.
func (r *Request) reserve(n int64) error {
	if err := r.engine.memory.take(r.Caller().Organization.ID, n); err != nil {
		return err
	}
	r.held += n
	return nil
}

// Reserve is for a handler whose answer can't be refused any more once it is known: it takes room for n bytes of it
// before anything is done. The error is a problem.
func (r *Request) Reserve(n int) error { return r.reserve(int64(n)) }

// keep gives back what the request has reserved beyond n bytes. It is for a write that is run again: what the answer of
// its first run took is not held twice.
func (r *Request) keep(n int64) {
	r.engine.memory.give(r.Caller().Organization.ID, r.held-n)
	r.held = n
}

// holdAnswer reserves room for the encoded answer, if it is large: its caller may take their time to read it. It is
// asked for once the answer exists, so for a moment there is more than is counted; to know its size before would take
// encoding it twice.
func (r *Request) holdAnswer() error {
	if size := r.answer.body.buffer.Cap(); size > smallAnswer {
		return r.reserve(int64(size))
	}
	return nil
}

// release gives back what the request holds. It runs once, when the response has been handed to net/http, whose own
// buffers are small.
func (r *Request) release() {
	if r.held > 0 {
		r.engine.memory.give(r.Caller().Organization.ID, r.held)
	}
}
