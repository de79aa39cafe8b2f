// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// maxHere is how many clusters a process keeps, those that were used last. It is no bound of how many sessions there
// are: one that is forgotten is made again, and the apiserver is then asked once more.
const maxHere = 1000

// people is what this process knows of those whose sessions it has found: what they reach of the cluster, with what the
// apiserver has said, for some seconds, of what they may. It holds no session up: whether there is one, the database
// says for each request.
type people struct {
	mu   sync.Mutex
	byID *lru.LRU[string, *here]
	// lives are those of all sessions that are known here or have a request that runs: for as long as anybody has one, it
	// is the session's only one, so that whoever runs is told when it ends (drop).
	lives map[string]weak.Pointer[life]
	// meters are by the person: all sessions of one share it, one after another as well. There is room for everybody who
	// may have a session at the same time, so that no rate begins anew while somebody is here.
	meters *lru.LRU[string, *rate.Meter]
}

// here is one of them.
type here struct {
	version int64 // of the credential
	cluster *Cluster
	*life
}

// life is what a session has from its beginning to its end, by whatever credential.
type life struct {
	ended atomic.Bool // as far as this process knows
	meter *rate.Meter
}

func newPeople() *people {
	return &people{
		byID: lastUsed[*here](maxHere), lives: map[string]weak.Pointer[life]{}, meters: lastUsed[*rate.Meter](bounds.All),
	}
}

// lastUsed keeps so many values, those that were used last.
func lastUsed[V any](most int) *lru.LRU[string, V] {
	l, err := lru.NewLRU[string, V](most, nil)
	if err != nil {
		panic(err) // there is one error: a size of zero
	}
	return l
}

// put takes in a session that has just begun, or whose credential was renewed.
func (p *people) put(row store.SignedIn, cluster *Cluster) *here {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.add(row, cluster)
}

// add is put, with mu held. The cluster knows nothing yet: what was found out by an older credential is not gone by
// with a newer one.
func (p *people) add(row store.SignedIn, cluster *Cluster) *here {
	h := &here{row.Version, cluster, p.lifeOf(row)}
	p.byID.Add(row.ID, h)
	return h
}

// lifeOf is the one that a session has, or its first one. mu is held.
func (p *people) lifeOf(row store.SignedIn) *life {
	meter := p.meterOf(row.Person)
	if l := p.lives[row.ID].Value(); l != nil {
		return l
	}
	l := &life{meter: meter}
	p.lives[row.ID] = weak.Make(l)
	runtime.AddCleanup(l, p.forget, row.ID)
	return l
}

// forget is called when nobody has a life any more. By now the session may have another one, which stays.
func (p *people) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lives[id].Value() == nil {
		delete(p.lives, id)
	}
}

// meterOf counts what a person does, who is now among those that were seen last. mu is held.
func (p *people) meterOf(person string) *rate.Meter {
	m, ok := p.meters.Get(person)
	if !ok {
		m = new(rate.Meter)
		p.meters.Add(person, m)
	}
	return m
}

// of returns what is known of a session that was found in the database; open makes what is not.
func (p *people) of(row store.SignedIn, open func() (*Cluster, error)) (*here, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// What is known may be newer than the row, which was read before the credential was renewed.
	if h, ok := p.byID.Get(row.ID); ok && h.version >= row.Version {
		p.meterOf(row.Person)
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
	if l := p.lives[id].Value(); l != nil {
		l.ended.Store(true)
	}
	delete(p.lives, id)
	p.byID.Remove(id)
}

// refused tells whether the apiserver has refused a session's credential, as far as this process knows. Of another
// version than the row's nothing follows: that is another credential.
func (p *people) refused(row store.SignedIn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, ok := p.byID.Peek(row.ID)
	return ok && h.version == row.Version && h.cluster.Refused()
}
