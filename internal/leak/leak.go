// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package leak takes reports of keys that have leaked: whoever holds a key may end it.
//
// A report is worth what it shows, the key itself. So nobody is asked who they are, and nobody is told whether there is
// such a key. This process refuses the key at once; the Lease, which is all that it may write, tells the controller,
// which ends the key everywhere and for good. docs/leaked-keys.md has the whole way.
package leak

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

const (
	// mostQueued bounds the reports that wait for the controller. Each is of a key that exists.
	mostQueued = 10_000
	// mostWaiting bounds the callers that wait to be answered.
	mostWaiting = 1_000
	// answerWithin is how long a report may wait for the apiserver. The key is refused here all the same, and the report
	// is made once the apiserver is back.
	answerWithin = 5 * time.Second
	// mostRead is more than any key's length: of what is longer, no more is hashed.
	mostRead = 128
)

// ErrUnavailable says that no report is taken at the moment, whatever is reported: this process has not listed the keys
// yet, or has as many reports as it holds.
var ErrUnavailable = errors.New("leaked keys can't be reported here at the moment: send the report again in a moment")

// Options are what a Reporter is made of. All are required.
type Options struct {
	Index  *authn.Index
	Format key.Format
	// Loaded tells whether Index has had all keys once: before that, a key that exists would pass for one that does not.
	Loaded func() bool
	Clock  clock.Clock
}

// Reporter takes reports. It is the revocation.Reports of the process's Replica.
type Reporter struct {
	o   Options
	due chan struct{}

	mu      sync.Mutex
	callers int
	queue   []*report // the oldest first
	byKey   map[key.Digest]*report
	waiting map[*waiter]struct{} // callers all of whose keys are in the queue
}

// report is a key that exists here and that somebody has reported.
type report struct {
	digest key.Digest
	told   bool // it has stood on the Lease, or there is nothing to tell any more
}

// waiter is a caller who is to be answered once the reports stand on the Lease.
type waiter struct {
	reports []*report
	done    chan struct{}
}

// New returns a Reporter.
func New(o Options) *Reporter {
	return &Reporter{
		o: o, due: make(chan struct{}, 1), byKey: map[key.Digest]*report{}, waiting: map[*waiter]struct{}{},
	}
}

// Report ends these keys, of either environment, as far as there are such keys. What are none, or nobody's, is passed
// over without a word.
//
// It returns when the Lease has been written once more, with the reports on it if there are any; so that the time that
// it takes tells nothing either. If the apiserver does not answer, it returns all the same after some seconds. The
// error is ErrUnavailable, or that of ctx: neither says anything about the keys.
func (r *Reporter) Report(ctx context.Context, keys ...string) error {
	_, err := r.Learn(ctx, keys...)
	return err
}

// Learn is Report for a caller who may be told which of the keys there are.
func (r *Reporter) Learn(ctx context.Context, keys ...string) (known []bool, err error) {
	if !r.o.Loaded() {
		return nil, ErrUnavailable
	}
	if !r.enter(len(keys)) {
		return nil, ErrUnavailable
	}
	w := &waiter{done: make(chan struct{})}
	defer r.leave(w)
	known = make([]bool, len(keys))
	for i, text := range keys {
		known[i] = r.end(w, text)
	}
	r.await(w)
	timeout := r.o.Clock.NewTimer(answerWithin)
	defer timeout.Stop()
	select {
	case <-w.done:
		return known, nil
	case <-timeout.C():
		return known, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// enter tells whether there is room for a caller with so many keys, whatever they are.
func (r *Reporter) enter(keys int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue)+keys > mostQueued {
		r.prune()
	}
	if r.callers >= mostWaiting || len(r.queue)+keys > mostQueued {
		return false
	}
	r.callers++
	return true
}

func (r *Reporter) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.callers--
	delete(r.waiting, w)
}

// end refuses a key here, and notes it for the controller. It tells whether there is such a key. What is not a key is
// hashed as well, so that it costs the same.
func (r *Reporter) end(w *waiter, text string) (known bool) {
	_, err := r.o.Format.Parse(text)
	digest := key.DigestOf(text[:min(len(text), mostRead)])
	if err != nil || !r.o.Index.ReportLeak(digest) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.byKey[digest]
	if one == nil {
		one = &report{digest: digest}
		r.byKey[digest] = one
		r.queue = append(r.queue, one)
	}
	w.reports = append(w.reports, one)
	return true
}

// await has the Lease written for w, which has all its reports.
func (r *Reporter) await(w *waiter) {
	r.mu.Lock()
	r.waiting[w] = struct{}{}
	r.mu.Unlock()
	select {
	case r.due <- struct{}{}:
	default: // it has been sent to already, and not looked at yet
	}
}

// Due is sent to when somebody waits for the Lease to be written.
func (r *Reporter) Due() <-chan struct{} { return r.due }

// Take returns the oldest reports that the controller has not settled. A key that is not here at the moment has its
// turn when it is back: a namespace may be closed to this process for a while.
func (r *Reporter) Take(limit int) (reports []revocation.Report, told func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var taken []*report
	r.queue = slices.DeleteFunc(r.queue, func(one *report) bool {
		if len(reports) >= limit {
			return false
		}
		listed, namespaces := r.o.Index.LeakOf(one.digest)
		if listed {
			one.told = true
			delete(r.byKey, one.digest)
			return true
		}
		namespaces = namespaces[:min(len(namespaces), limit)]
		if len(reports)+len(namespaces) > limit {
			return false
		}
		for _, namespace := range namespaces {
			reports = append(reports, revocation.Report{Namespace: namespace, Digest: one.digest})
		}
		taken = append(taken, one)
		return false
	})
	waiting := slices.Collect(maps.Keys(r.waiting))
	return reports, func() { r.answer(taken, waiting) }
}

// answer lets those go on who waited before the Lease was written, and whose reports are on it.
func (r *Reporter) answer(taken []*report, waiting []*waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range taken {
		one.told = true
	}
	for _, w := range waiting {
		_, waits := r.waiting[w]
		if waits && !slices.ContainsFunc(w.reports, func(one *report) bool { return !one.told }) {
			delete(r.waiting, w)
			close(w.done)
		}
	}
}

// prune forgets reports of keys that are gone. mu must be held.
func (r *Reporter) prune() {
	r.queue = slices.DeleteFunc(r.queue, func(one *report) bool {
		listed, namespaces := r.o.Index.LeakOf(one.digest)
		if !listed && len(namespaces) > 0 {
			return false
		}
		r.o.Index.ForgetReport(one.digest)
		one.told = true
		delete(r.byKey, one.digest)
		return true
	})
}
