// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// subject is a key whose life an inquest follows.
type subject struct {
	*v1alpha1.ApiKey
	plaintext string
	// Nanoseconds since the inquest began; 0: not yet.
	asked atomic.Int64 // when its deletion was asked for
	gone  atomic.Int64 // when that was known to have completed
}

// inquest asks replicas about keys all the time, and holds them to two promises. A request that is sent after a key's
// deletion has completed is never answered 200. A key whose deletion nobody has asked for is never answered 401.
type inquest struct {
	began    time.Time
	subjects []*subject
	http     *http.Client
	cancel   context.CancelFunc
	asking   sync.WaitGroup

	mu      sync.Mutex
	recent  []*subject // deletions were asked for these last
	wrong   []string
	answers map[string]map[int]int // by URL and status; 0: no answer
}

const (
	// askersEach is how many requests each replica is sent at once.
	askersEach = 2
	// breath is the time between two requests of an asker: the control plane needs the two cores as well.
	breath = time.Millisecond
	// attention is how many of the latest deletions are asked about most.
	attention = 8
)

// investigate begins to ask. All replicas must know all subjects by now. It ends with the spec, at the latest.
func investigate(ctx SpecContext, urls []string, subjects []*subject) *inquest {
	life, cancel := context.WithCancel(ctx)
	q := &inquest{
		began: time.Now(), subjects: subjects, cancel: cancel, answers: map[string]map[int]int{},
		// A request to a stopped process waits until that wakes up, and is a good question then.
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: askersEach}},
	}
	DeferCleanup(q.stop)
	for _, url := range urls {
		q.answers[url] = map[int]int{}
	}
	for _, url := range urls {
		for range askersEach {
			q.asking.Go(func() { q.askAll(life, url) })
		}
	}
	return q
}

// stop ends the questions, and returns what was wrong with the answers.
func (q *inquest) stop() []string {
	q.cancel()
	q.asking.Wait()
	q.http.CloseIdleConnections()
	return q.wrong
}

func (q *inquest) now() int64 { return int64(time.Since(q.began)) }

func (q *inquest) askAll(life context.Context, url string) {
	next := time.NewTicker(breath)
	defer next.Stop()
	for life.Err() == nil {
		q.ask(life, url, q.pick())
		<-next.C
	}
}

// pick returns any subject, but mostly one of those whose deletion is under way or has just completed.
func (q *inquest) pick() *subject {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.recent); n > 0 && rand.IntN(4) > 0 {
		return q.recent[rand.IntN(n)]
	}
	return q.subjects[rand.IntN(len(q.subjects))]
}

// ask sends one request and judges the answer, which it returns; 0: there is none.
func (q *inquest) ask(ctx context.Context, url string, s *subject) int {
	sent := q.now()
	status, err := q.whoami(ctx, url, s.plaintext)
	asked, gone := s.asked.Load(), s.gone.Load()
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case err != nil && ctx.Err() != nil:
		return 0
	case status == http.StatusOK && gone > 0 && sent > gone:
		q.wrong = append(q.wrong, fmt.Sprintf("%s accepted %s in a request sent %s after its deletion had completed, which took %s",
			url, s.Name, time.Duration(sent-gone), time.Duration(gone-asked)))
	case status == http.StatusUnauthorized && asked == 0:
		q.wrong = append(q.wrong, fmt.Sprintf("%s refused %s, which nobody has deleted, at %s", url, s.Name, time.Duration(sent)))
	case err != nil, status == http.StatusServiceUnavailable:
	case status != http.StatusOK && status != http.StatusUnauthorized:
		q.wrong = append(q.wrong, fmt.Sprintf("%s answered %d", url, status))
	}
	q.answers[url][status]++
	return status
}

func (q *inquest) whoami(ctx context.Context, url, plaintext string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/whoami", http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+plaintext)
	response, err := q.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// remove lets a key be deleted in some way that returns when the key is gone, and everybody is asked about it from now
// on.
func (q *inquest) remove(ctx context.Context, s *subject, by func(context.Context, *v1alpha1.ApiKey) error) error {
	q.attend(s)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("its deletion does not complete"))
	defer cancel()
	s.asked.Store(q.now())
	if err := by(ctx, s.ApiKey); err != nil {
		return fmt.Errorf("%s: %w: %s", s.Name, err, whyHeld(ctx, s.ApiKey))
	}
	s.gone.Store(q.now())
	return nil
}

// removeAll lets all keys, which are those of a namespace, be deleted in some way, and returns when they are gone.
func (q *inquest) removeAll(ctx context.Context, namespace string, by func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the deletions do not complete"))
	defer cancel()
	events, err := admin.Watch(ctx, &v1alpha1.ApiKeyList{}, client.InNamespace(namespace))
	if err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	defer events.Stop()
	left := map[string]*subject{}
	for _, s := range q.subjects {
		left[s.Name] = s
		s.asked.Store(q.now())
	}
	var group errgroup.Group
	group.Go(func() error { return by(ctx) })
	for len(left) > 0 {
		event, open := <-events.ResultChan()
		if k, ok := event.Object.(*v1alpha1.ApiKey); ok && event.Type == watch.Deleted {
			left[k.Name].gone.Store(q.now())
			delete(left, k.Name)
		}
		if !open {
			for _, s := range left {
				return errors.Join(group.Wait(), fmt.Errorf("%d keys are left: %w: %s", len(left), context.Cause(ctx), whyHeld(ctx, s.ApiKey)))
			}
		}
	}
	return group.Wait()
}

// attend lets everybody be asked about a key often.
func (q *inquest) attend(s *subject) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.recent, s) {
		q.recent = append(q.recent, s)
		q.recent = q.recent[max(0, len(q.recent)-attention):]
	}
}

// took is how long each deletion took that has completed, the longest last.
func (q *inquest) took() (all []time.Duration) {
	for _, s := range q.subjects {
		if gone := s.gone.Load(); gone > 0 {
			all = append(all, time.Duration(gone-s.asked.Load()).Round(time.Millisecond))
		}
	}
	slices.Sort(all)
	return all
}

// report says, in the spec's report, how many answers there were, and how long deletions took.
func (q *inquest) report() {
	took := q.took()
	summary := fmt.Sprintf("%d deletions", len(took))
	if n := len(took); n > 0 {
		summary += fmt.Sprintf(": median %s, 90 %% %s, longest %s", took[n/2], took[n*9/10], took[n-1])
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	AddReportEntry(summary, q.answers, ReportEntryVisibilityFailureOrVerbose)
}
