// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// Flight is a request that has been accepted and not yet been answered. It lives in what stands for the request, and
// costs no allocation of its own. The zero Flight is one that was never accepted: only Admit, AdmitSession and
// AdmitKey change that, once.
//
// A flight is cut when its key or its session stops being good or when the replica must not serve any more, and for
// good: neither heals within one request. A caller who was told of a revocation must be able to rely on it, even if
// the object comes back a moment later.
type Flight struct {
	_ [0]sync.Mutex // not to be copied: others hold pointers to it

	identity      Identity       // that it was admitted with; zero: it is a person's
	session       Session        // that it was admitted with; nil: it is a key's
	ends          time.Time      // when that ends by itself; zero: never
	authenticator *Authenticator // nil: not accepted
	parent        context.Context
	shard         *shard

	// Under shard.mu.
	previous, next *Flight
	cut            error // why; nil: it is not
	work           *work // nil: nobody has asked for a context
	commits        int   // writes past their commit point
	committed      bool  // a write has succeeded
	ended          bool
}

// Session is what a person is signed in by. Its methods are called by any number of goroutines.
type Session interface {
	// Caller returns who is signed in, and until when (Caller.Actor.ExpiresAt).
	Caller() caller.Caller
	// Refusal says why the session is not good at now, by an error that is a Refusal, or admission's ErrUndecided if it
	// may be good again; nil: it is good. It is asked several times for each request, so it must cost little and wait for
	// nobody.
	Refusal(now time.Time) error
}

// work is what a flight needs once somebody works on it who is to be told of its cut. A timer and two contexts: what
// most flights never need.
type work struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	expiry *time.Timer // nil: what it was admitted with never expires
}

// begin registers f, and looks once more at what it was admitted with.
//
// Between the lookup and the registration a key may have been revoked, by somebody who then looked for its flights and
// did not find this one. So: who ends a key changes the index first and then walks the registry; who begins a flight
// enters the registry first and then looks at the key. Whichever comes first to the lock of the flight's shard, the
// other sees what was done before it: the walk finds the flight, or the look finds the change. The same holds for
// serving and CutAll.
//
// The look is at Key.slot, not at the slot that the lookup has found: that one may have been left behind by a rebuild
// of the table, and then never sees what is changed later.
func (f *Flight) begin(
	parent context.Context, a *Authenticator, id Identity, s Session, now time.Time,
) error {
	f.identity, f.session, f.authenticator, f.parent = id, s, a, parent
	if s != nil {
		f.ends = s.Caller().Actor.ExpiresAt
	} else {
		f.ends = id.Key.ExpiresAt()
	}
	// Its fields are set before it is added: from then on a walk may look at it.
	f.shard = a.index.flights.shardOf(f)
	f.shard.add(f)
	err := f.refusal(now)
	if err != nil {
		f.shard.mu.Lock()
		f.shard.remove(f)
		f.shard.mu.Unlock()
		*f = Flight{} // never accepted: nobody may take its caller for one who was let in
	}
	return err
}

// refusal says why the flight may not go on at now; nil: it may. It must be called without a lock held: serving and
// Session are other rooms' code, and may take locks of their own. The fence comes first: a replica that is cut off
// can't be sure of anything that follows.
func (f *Flight) refusal(now time.Time) error {
	switch {
	case !f.authenticator.serving(now):
		return ErrUnavailable
	case f.session == nil:
		return f.identity.Key.refusal(now)
	}
	return f.session.Refusal(now)
}

// Caller returns who the request comes from; the zero Caller if it was not accepted. It must not be changed. Whoever
// needs it more than once keeps it: a person's is made anew each time.
func (f *Flight) Caller() *caller.Caller {
	if f.session != nil {
		c := f.session.Caller()
		return &c
	}
	return f.identity.Caller()
}

// Session is what it was admitted with; nil: a key.
func (f *Flight) Session() Session { return f.session }

// KeyMintedAt is when the key that it was admitted with was minted, or brought; zero: not known, or there is no key.
func (f *Flight) KeyMintedAt() time.Time {
	if f.identity.Key == nil {
		return time.Time{}
	}
	return f.identity.Key.minted()
}

// Err says why the flight is cut: a Refusal, the session's own error, or ErrUnavailable. It looks at key, session and
// clock itself, and does not depend on a watch or a timer to have told. Nil: it is not cut, or it was not accepted.
func (f *Flight) Err() error {
	if f.authenticator == nil {
		return nil
	}
	err := f.refusal(f.authenticator.clock.Now())
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	f.cutIf(err)
	return f.cut
}

// End takes the flight off the registry, and says why it was cut, as Err does. Nil: the answer may go out. That is so
// too, whatever has happened since, if a write of the flight was committed: it was done with a good key, and who asked
// for it must be told. Only the first call decides, each returns the same.
func (f *Flight) End() error {
	if f.authenticator == nil {
		return nil
	}
	err := f.refusal(f.authenticator.clock.Now())
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if !f.ended {
		f.ended = true
		f.shard.remove(f)
		f.cutIf(err)
		f.work.stop()
	}
	if f.committed {
		return nil
	}
	return f.cut
}

// cutIf cuts the flight if err says so; the first reason stays. The shard must be locked.
//
// Its context ends with it, but not while a write is past its commit point, and not after one has succeeded: what is
// left to do then is to say so. Any further write has to pass Commit and is refused.
func (f *Flight) cutIf(err error) {
	if f.cut == nil {
		f.cut = err
	}
	if f.cut != nil && f.work != nil && f.commits == 0 && !f.committed {
		f.work.cancel(f.cut) // runs nobody's code: what waits for a context runs in goroutines of its own
	}
}

// stop ends the work of a flight, if there is any.
func (w *work) stop() {
	if w == nil {
		return
	}
	if w.expiry != nil {
		w.expiry.Stop()
	}
	w.cancel(nil)
}

type flightKey struct{}

// Context returns the context for the work on an accepted request. It ends when the caller has gone, when the flight
// has ended, and when it is cut; then context.Cause is what Err says. Commit takes it.
//
// It is made when it is first asked for: requests that are answered from memory need none, and making it costs more
// than all else that a flight does.
func (f *Flight) Context() context.Context {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	if f.work != nil {
		return f.work.ctx
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(f.parent, flightKey{}, f))
	f.work = &work{ctx: ctx, cancel: cancel}
	f.cutIf(nil) // it may have been cut already, when there was no context to end
	if f.ended {
		cancel(nil)
		return ctx
	}
	if expiresAt := f.ends; !expiresAt.IsZero() {
		f.work.expiry = time.AfterFunc(expiresAt.Sub(f.authenticator.clock.Now()), f.expire)
	}
	return ctx
}

// expire is called when the key or the session should have expired. The clock decides: it may have been set back
// meanwhile.
func (f *Flight) expire() {
	now := f.authenticator.clock.Now()
	err := f.refusal(now)
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	f.cutIf(err)
	// It was too early: a timer runs by the monotonic clock, and expiry is a time of the wall clock.
	if f.cut == nil && !f.ended {
		f.work.expiry.Reset(max(f.ends.Sub(now), time.Millisecond))
	}
}

// flights is the registry of all flights. It is what a revocation walks to cut those of its key: flights are too many
// and too short to be kept by key, revocations are few.
type flights struct {
	shards [64]shard

	commitsMu sync.Mutex
	commits   map[types.UID]int    // writes past their commit point, by the key's id; no zeros
	waiting   map[types.UID]func() // what is done when the last of them is over; see afterCommits
}

// shard is a list of flights, in a cache line of its own, so that cores do not fight for it.
type shard struct {
	mu    sync.Mutex
	first *Flight
	_     [64 - unsafe.Sizeof(sync.Mutex{}) - unsafe.Sizeof(uintptr(0))]byte
}

// shardOf spreads flights by where they lie in memory, which costs nothing that cores would have to share.
func (fs *flights) shardOf(f *Flight) *shard {
	const golden = 0x9e3779b97f4a7c15     // Fibonacci hashing: the upper bits depend on all bits of the address
	address := uintptr(unsafe.Pointer(f)) //nolint:gosec // G103: the address is a number here, and no more
	return &fs.shards[uint64(address)*golden>>58]
}

// add puts f first. The list is linked through the flights themselves, so that it costs no allocation.
func (s *shard) add(f *Flight) {
	s.mu.Lock()
	if f.next = s.first; f.next != nil {
		f.next.previous = f
	}
	s.first = f
	s.mu.Unlock()
}

// remove takes f off the list; s.mu must be held. The links are cleared, so that a flight that is over keeps no other
// one alive.
func (s *shard) remove(f *Flight) {
	if f.previous != nil {
		f.previous.next = f.next
	} else {
		s.first = f.next
	}
	if f.next != nil {
		f.next.previous = f.previous
	}
	f.previous, f.next = nil, nil
}

// cut cuts the flights for which why has an error. why is called with a shard locked.
func (fs *flights) cut(why func(*Flight) error) {
	for i := range fs.shards {
		s := &fs.shards[i]
		s.mu.Lock()
		for f := s.first; f != nil; f = f.next {
			f.cutIf(why(f))
		}
		s.mu.Unlock()
	}
}

// CutAll cuts every flight, for the reason err: ErrUnavailable. Serving must be false already, and must not be true
// again before CutAll has returned: else a flight could be admitted behind the walk and be missed by it.
func (x *Index) CutAll(err error) {
	x.flights.cut(func(*Flight) error { return err })
}

// cutUnserved cuts the flights of keys that are no longer served, after the index has been changed. Expiry is left to
// the flights themselves, which have a clock. Those who are told of a revocation are told once all of its flights are
// cut, and without a lock held.
func (x *Index) cutUnserved() {
	revoked, running := x.takeRevoked()
	x.flights.cut(func(f *Flight) error {
		if f.session != nil {
			return nil // a session is looked at when its flight is, and no watch tells of it
		}
		if _, counts := running[f.identity.Key]; counts && f.cut == nil {
			running[f.identity.Key]++
		}
		return f.identity.Key.refusal(time.Time{})
	})
	for _, k := range revoked {
		x.onRevoked(k, running[k])
	}
}
