// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"k8s.io/utils/clock"
)

// Organizations take turns in the queue, in two ways: those with little queued come before those with much, and none
// has all workers at a time. So ten thousand posts of one, each for a platform that is slow, keep nobody else's
// waiting.

const (
	// workersOfOne is how many of the workers one organization has at most: what is left is for others.
	workersOfOne = workers * 6 / 10
	// turnWithin is how long a job waits for a worker of its organization. It is on one of the others' meanwhile: longer,
	// and theirs would wait for it; at once, and it would come back as fast as the queue gives jobs out.
	turnWithin = 100 * time.Millisecond
	// notYourTurn is how long a job goes back that has waited in vain, or whose account is busy. It is much shorter than
	// the time between two fetches of a replica that is idle, so that mostly another replica fetches before this one does
	// so again: with that very time, the job would come back here again and again.
	notYourTurn = 200 * time.Millisecond
)

// backlogs are the numbers of queued posts up to which an organization's next job has River's priority 1, 2 and 3.
// Beyond the last it has 4, which is River's last.
var backlogs = [...]int{25, 250, 2_500}

// lastPriority is that of jobs which make up for something that went wrong.
const lastPriority = len(backlogs) + 1

// priority is that of a job whose organization has so many posts queued.
func priority(queued int) int {
	for i, most := range backlogs {
		if queued <= most {
			return i + 1
		}
	}
	return lastPriority
}

// shares gives each organization its workers. Jobs that do not say whose they are count as of one.
type shares struct {
	clock clock.PassiveClock
	// look finds posts that an organization has due, one of each account that is not busy.
	look func(ctx context.Context, organization string) ([]string, error)

	mu sync.Mutex
	of map[string]*organization // of those with a job that has a worker, or waits for one
}

// organization is what is known of one while it has jobs here.
type organization struct {
	id    string
	taken chan struct{} // as many as it holds are taken
	jobs  int           // that have a worker, or wait for one

	mu     sync.Mutex
	due    []string // posts that look has found and nobody has taken
	looked time.Time
}

func newShares(c clock.PassiveClock, look func(context.Context, string) ([]string, error)) *shares {
	return &shares{clock: c, look: look, of: map[string]*organization{}}
}

// take gives an organization a worker, which leave takes back; the error has the job come again later.
func (s *shares) take(ctx context.Context, id string) (o *organization, leave func(), err error) {
	o = s.enter(id)
	patience := time.NewTimer(turnWithin)
	defer patience.Stop()
	select {
	case o.taken <- struct{}{}:
		return o, func() {
			<-o.taken
			s.exit(o)
		}, nil
	case <-ctx.Done():
	case <-patience.C:
	}
	// Also when ctx has ended: with an error, it would count as one of the job's tries, and be logged as a failure.
	s.exit(o)
	return nil, nil, river.JobSnooze(notYourTurn)
}

// enter finds an organization, or makes it.
func (s *shares) enter(id string) *organization {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of[id]
	if o == nil {
		o = &organization{id: id, taken: make(chan struct{}, workersOfOne)}
		s.of[id] = o
	}
	o.jobs++
	return o
}

// exit forgets who has no jobs here any more.
func (s *shares) exit(o *organization) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// By the count, and not by whether a worker is taken: a job may have found the organization and still wait for one.
	// Forgotten before that, the organization would be made once more, and have twice as many workers.
	if o.jobs--; o.jobs == 0 {
		delete(s.of, o.id)
	}
}

// another returns a post that an organization has due; "": it seems to have none. Somebody may have begun it meanwhile.
//
// It is looked for no more often than jobs come back: most jobs of an organization with much queued find their
// post done by another one.
func (s *shares) another(ctx context.Context, o *organization) string {
	// Jobs that don't say whose they are: they are of several organizations, and there is none to look for.
	if o.id == "" {
		return ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// With the lock held: workers of the same organization that come meanwhile get of what this look finds, instead of
	// asking the database the same. Nobody else's wait for it.
	if len(o.due) == 0 && s.clock.Since(o.looked) >= notYourTurn {
		o.looked = s.clock.Now()
		o.due, _ = s.look(ctx, o.id) // the next job, or the next look, finds what this one does not
	}
	if len(o.due) == 0 {
		return ""
	}
	next := o.due[0]
	o.due = o.due[1:]
	return next
}
