// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"sync"
	"time"

	"github.com/riverqueue/river"
)

// Organizations take turns in the queue, in two ways: who has little queued comes before who has much, and nobody has
// all workers at a time. So ten thousand posts of one, each for a platform that is slow, keep nobody else's waiting.

const (
	// workersOfOne is how many of the workers one organization has at most: what is left is for others.
	workersOfOne = workers * 6 / 10
	// notYourTurn is how long a job goes back for whose organization has all of its workers. Others' are fetched
	// meanwhile. It is much shorter than the time between two fetches of a replica, so that mostly another replica
	// fetches before this one does so again: with that very time, the job would come back here again and again.
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

// turns counts the workers of each organization. Jobs that do not say whose they are count as of one.
type turns struct {
	mu  sync.Mutex
	has map[string]int
}

func newTurns() *turns { return &turns{has: map[string]int{}} }

// take gives an organization a worker, which leave takes back; the error has the job come again later.
func (t *turns) take(organization string) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has[organization] >= workersOfOne {
		return nil, river.JobSnooze(notYourTurn)
	}
	t.has[organization]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.has[organization]--; t.has[organization] == 0 {
			delete(t.has, organization)
		}
	}, nil
}
