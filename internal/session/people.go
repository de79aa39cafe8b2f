// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"sync"
	"sync/atomic"

	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// maxHere is how many sessions a process keeps something of. It is no bound of how many there are: what is forgotten is
// made again, and only what the apiserver had said is asked once more.
const maxHere = 1000

// people is what this process knows of those whose sessions it has found: what they reach of the cluster, with what the
// apiserver has said, for some seconds, of what they may. It holds no session up: whether there is one, the database
// says for each request.
type people struct {
	mu     sync.Mutex
	byID   map[string]*here
	meters map[string]*rate.Meter // by the person: all sessions of one share it
}

// here is one of them.
type here struct {
	version int64 // of the credential
	cluster *Cluster
	meter   *rate.Meter
	ended   *atomic.Bool // as far as this process knows
}

func newPeople() people {
	return people{byID: map[string]*here{}, meters: map[string]*rate.Meter{}}
}

// put takes in a session that has just begun, or whose credential was renewed.
func (p *people) put(row store.SignedIn, cluster *Cluster) *here {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.add(row, cluster)
}

func (p *people) add(row store.SignedIn, cluster *Cluster) *here {
	if len(p.byID) >= maxHere {
		clear(p.byID)
		clear(p.meters)
	}
	if p.meters[row.Person] == nil {
		p.meters[row.Person] = new(rate.Meter)
	}
	// The cluster knows nothing yet: what was found out by an older credential is not gone by with a newer one.
	h := &here{row.Version, cluster, p.meters[row.Person], new(atomic.Bool)}
	if last := p.byID[row.ID]; last != nil { // it is the same session
		h.ended = last.ended
	}
	p.byID[row.ID] = h
	return h
}

// of returns what is known of a session that was found in the database; open makes what is not.
func (p *people) of(row store.SignedIn, open func() (*Cluster, error)) (*here, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// What is known may be newer than the row, which was read before the credential was renewed.
	if h := p.byID[row.ID]; h != nil && h.version >= row.Version {
		return h, nil
	}
	cluster, err := open() // dials nothing
	if err != nil {
		return nil, err
	}
	return p.add(row, cluster), nil
}

// drop forgets a session that is over. Requests of it that still run are told.
func (p *people) drop(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.byID[id]; h != nil {
		h.ended.Store(true)
		delete(p.byID, id)
	}
}

// refused tells whether the apiserver has refused a session's credential, as far as this process knows. Of another
// version than the row's nothing follows: that is another credential.
func (p *people) refused(row store.SignedIn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.byID[row.ID]
	return h != nil && h.version == row.Version && h.cluster.Refused()
}
