// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// IDOf is by which the row of a session is found.
func IDOf(token string) string { return idOf(token) }

// MaxAsking is how many credentials are asked about at once.
const MaxAsking = maxAsking

// Refuse is as if the apiserver had just refused a person's credential.
func Refuse(p *Person) { p.Cluster.refused.Store(true) }

// What a process keeps of sessions, at most.
var (
	MaxHere   = maxHere
	MaxMeters = bounds.All
)

// People is what a process knows of those whose sessions it has found.
type People struct{ *people }

// NewPeople knows of nobody.
func NewPeople() People { return People{newPeople()} }

// Find is what a request of a session begins with that the database has.
func (p People) Find(id, person string) *Person {
	now := time.Now()
	h, _ := p.of(store.SignedIn{ID: id, Person: person}, func() (*Cluster, error) { return new(Cluster), nil })
	return &Person{Cluster: h.cluster, here: h, ExpiresAt: now.Add(time.Hour)}
}

// Drop forgets a session that is over.
func (p People) Drop(id string) { p.drop(id) }

// Size is how many sessions and people are kept.
func (p People) Size() (clusters, lives, meters int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID.Len(), len(p.lives), p.meters.Len()
}
