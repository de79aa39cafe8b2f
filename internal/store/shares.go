// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// shareWait is how long a call waits for a place among those of its organization. Whoever has so much under way that
// nothing of it ends in this time has asked for too much.
const shareWait = 5 * time.Second

// shares gives each organization so many places in a pool and no more, whatever it asks for: the rest of the
// connections is the others'. An organization that has none left waits behind itself.
type shares struct {
	places int
	wait   time.Duration

	mu sync.Mutex
	of map[string]*share // of those with calls under way: a cluster may have any number of organizations
}

// share is the places of one organization.
type share struct {
	taken chan struct{} // as many as it holds are taken
	calls int           // that hold one, or wait for one
}

// At least one: with none, a small pool would serve nobody.
func newShares(places int) *shares {
	return &shares{places: max(1, places), wait: shareWait, of: map[string]*share{}}
}

// take waits for a place. Whoever gets it calls leave once. The error is ErrBusy, or what has ended ctx.
func (s *shares) take(ctx context.Context, organization string) (leave func(), err error) {
	own := s.enter(organization)
	defer func() {
		if err != nil {
			s.exit(organization, own)
		}
	}()
	leave = func() {
		<-own.taken
		s.exit(organization, own)
	}
	select { // the common case needs no timer
	case own.taken <- struct{}{}:
		return leave, nil
	default:
	}
	patience := time.NewTimer(s.wait)
	defer patience.Stop()
	select {
	case own.taken <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a place: %w", context.Cause(ctx))
	// Not for as long as the caller would wait: whoever waits holds the memory of a request.
	case <-patience.C:
		return nil, ErrBusy
	}
}

// owed marks the contexts of Owed.
type owed struct{}

// Owed returns a context in which a View's writes take no place of its organization's. It is for what the process still
// has to write down when nobody waits for it any more, one after the other for all organizations: they are not to wait
// until one of them, which has taken all its places, lets go of one.
func Owed(ctx context.Context) context.Context { return context.WithValue(ctx, owed{}, true) }

// place waits for a place among those of the view's organization that write.
func (v *View) place(ctx context.Context) (leave func(), err error) {
	if ctx.Value(owed{}) != nil {
		return func() {}, nil
	}
	return v.db.writes.take(ctx, v.organization)
}

// enter finds an organization's share, or makes it.
func (s *shares) enter(organization string) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.of[organization]
	if own == nil {
		own = &share{taken: make(chan struct{}, s.places)}
		s.of[organization] = own
	}
	own.calls++
	return own
}

// exit forgets the share that nobody has anything to do with. The count, and not the channel, tells when: somebody may
// have found the share and not taken a place yet.
func (s *shares) exit(organization string, own *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.calls--; own.calls == 0 {
		delete(s.of, organization)
	}
}
