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
	// mostWaiting bounds the callers that wait to be answered.
	mostWaiting = 1_000
	// answerWithin is how long a report may wait for the apiserver. The key is refused here all the same, and the report
	// is made once the apiserver is back.
	answerWithin = 5 * time.Second
	// mostRead is more than any key's length: of what is longer, no more is hashed.
	mostRead = 128
)

// ErrUnavailable says that no report is taken at the moment, whatever is reported: this process has not listed the keys
// yet, or has as many callers as it lets wait.
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
	lanes   lanes
	waiting map[*waiter]struct{} // callers all of whose keys are in the lanes
}

// waiter is a caller who is to be answered once the reports stand on the Lease.
type waiter struct {
	reports []*report
	done    chan struct{}
}

// New returns a Reporter. The Index tells it of LeakedKeys from then on.
func New(o Options) *Reporter {
	r := &Reporter{o: o, due: make(chan struct{}, 1), waiting: map[*waiter]struct{}{}, lanes: lanes{
		whose: o.Index.LeakOf, forget: o.Index.ForgetReport,
		reports: map[key.Digest]*report{}, of: map[string]*lane{},
	}}
	o.Index.OnLeak(r.settled)
	return r
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
	if !r.enter() {
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

// enter tells whether there is room for one more caller, whatever they report.
func (r *Reporter) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.callers >= mostWaiting {
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
//
// Model: step Report.
func (r *Reporter) end(w *waiter, text string) (known bool) {
	_, err := r.o.Format.Parse(text)
	digest := key.DigestOf(text[:min(len(text), mostRead)])
	if err != nil || !r.o.Index.ReportLeak(digest) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.lanes.add(digest); one != nil {
		w.reports = append(w.reports, one)
	}
	return true
}

// await has the Lease written for w, which has all its reports.
func (r *Reporter) await(w *waiter) {
	r.mu.Lock()
	r.waiting[w] = struct{}{}
	r.mu.Unlock()
	r.notify()
}

// settled is called when a LeakedKey has come: its report may make room for the next one.
func (r *Reporter) settled() {
	r.mu.Lock()
	waiting, _ := r.lanes.counts()
	r.mu.Unlock()
	if waiting > 0 {
		r.notify()
	}
}

func (r *Reporter) notify() {
	select {
	case r.due <- struct{}{}:
	default: // it has been sent to already, and not looked at yet
	}
}

// Due is sent to when somebody waits for the Lease to be written, or a report that waits may have a place on it.
func (r *Reporter) Due() <-chan struct{} { return r.due }

// Take returns reports that the controller has not settled, those of each organization in its turn.
//
// Model: step Take.
func (r *Reporter) Take(limit int) (reports []revocation.Report, told func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reports, taken := r.lanes.take(limit)
	waiting := slices.Collect(maps.Keys(r.waiting))
	return reports, func() { r.answer(taken, waiting) }
}

// Unsettled are how many reports the controller has not settled, as far as their keys are here.
func (r *Reporter) Unsettled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting, standing := r.lanes.counts()
	return waiting + standing
}

// answer lets those go on who waited before the Lease was written, and whose reports are on it.
//
// Model: step Answer.
func (r *Reporter) answer(taken []*entry, waiting []*waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range taken {
		one.tell()
	}
	for _, w := range waiting {
		_, waits := r.waiting[w]
		if waits && !slices.ContainsFunc(w.reports, func(one *report) bool { return one.untold > 0 }) {
			delete(r.waiting, w)
			close(w.done)
		}
	}
}
