// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package authn knows who is calling: it turns an Authorization header into a Caller or a typed Refusal, and cuts the
// requests of callers who are no longer good.
//
// It asks nobody. An Index, fed by the apiserver's list and watch, holds a compact entry for every key, found by its
// digest without a lock; package lifecycle decides at the moment of the request whether the key is served. No plaintext
// is ever held.
//
// A key is recognised in authenticator.go and found in table.go; its request is kept in the registry of flight.go
// until it is answered, and takes its writes past commit.go. Changes come from the apiserver by listwatch.go,
// follower.go and feed.go, and are taken in by index_keys.go, index_profiles.go and leaked.go; pending.go has what
// the controller is to be told of them.
//
// Index.mu is never held together with another lock of this room, and no hook is called under it but onRoom. Of the
// others, the one of commits may be taken under that of a shard of flights, or of a Feed, and never the other way
// round.
package authn

import (
	"context"
	"errors"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// Refusal says why nobody was recognised. It is for metrics and logs; callers of the API are told one thing for all, so
// that nobody learns from an answer whether a key exists.
type Refusal string

// The refusals.
const (
	Missing          Refusal = "missing"           // no Authorization header at all
	Malformed        Refusal = "malformed"         // not one Bearer header with a well-formed key
	WrongEnvironment Refusal = "wrong_environment" // a key of the other environment
	Unknown          Refusal = "unknown"           // no such key, or revoked and gone
	Revoked          Refusal = "revoked"           // being deleted
	Expired          Refusal = "expired"
	Leaked           Refusal = "leaked"      // reported by somebody who has it
	Unserved         Refusal = "unserved"    // its Profile is gone, or it is a duplicate
	NotRenewed       Refusal = "not_renewed" // the provider of a person's credential has ended their session
)

// Refusals lists them all.
var Refusals = []Refusal{
	Missing, Malformed, WrongEnvironment, Unknown, Revoked, Expired, Leaked, Unserved, NotRenewed,
}

// Error makes a Refusal an error. It holds nothing of what the caller sent.
func (r Refusal) Error() string { return "unauthenticated: " + string(r) }

// ErrUnavailable says that nobody is recognised, whoever it is: this process can't be sure to know which keys are good.
var ErrUnavailable = errors.New("unavailable: the keys are not known, or not known to be up to date")

// Options are what an Authenticator is made of. All are required.
type Options struct {
	Index       *Index
	Format      key.Format
	Environment key.Environment // whose keys are accepted
	Clock       clock.PassiveClock
	// Serving tells whether the process may accept anything at all at now, which is a reading of Clock: for a request that
	// is accepted, which is asked twice, the one of when it came; a fresh one before its answer, and at each commit. It is
	// asked without a lock held.
	Serving func(now time.Time) bool
	// CommitTimeout bounds a write that is past its commit point. It must be over before a process that has ceased to
	// serve, because it is cut off, can be counted out: revocation.CommitWithin.
	CommitTimeout time.Duration
}

// Authenticator recognises the keys of one environment.
type Authenticator struct {
	format      key.Format
	environment key.Environment
	index       *Index
	clock       clock.PassiveClock
	serving     func(now time.Time) bool

	commitTimeout time.Duration
}

// NewAuthenticator returns an Authenticator for the keys of one environment that an index holds.
func NewAuthenticator(o Options) *Authenticator {
	return &Authenticator{
		format: o.Format, environment: o.Environment, index: o.Index, clock: o.Clock,
		serving: o.Serving, commitTimeout: o.CommitTimeout,
	}
}

// Admit takes the values of a request's Authorization header, and makes f the flight of that request, which ends with
// parent at the latest. Every flight that was admitted must be ended. The error is a Refusal or ErrUnavailable.
//
// now is when the request came, by Options.Clock. It is the caller's reading, because each has one in hand, and another
// would take a tenth of a key's admission. That a process is stopped between it and what follows changes nothing that a
// stop right after a reading of our own would not: End, Err and Commit read the clock anew.
//
// It costs two hashes and one lookup, less for what is unknown or malformed, and allocates nothing. The fence comes
// first: a process that can't be sure of its keys must not tell anybody that theirs is wrong.
//
// Model: step Accept.
func (a *Authenticator) Admit(parent context.Context, now time.Time, authorization []string, f *Flight) error {
	if !a.serving(now) {
		return ErrUnavailable
	}
	id, err := a.recognise(authorization, now)
	if err != nil {
		return err
	}
	return f.begin(parent, a, id, nil, now)
}

// AdmitSession is Admit for a person who is signed in. find is called with parent, only if the process may serve, and
// returns their session. The error is find's, the session's own, or ErrUnavailable.
func (a *Authenticator) AdmitSession(
	parent context.Context, find func(context.Context) (Session, error), f *Flight,
) error {
	if !a.serving(a.clock.Now()) {
		return ErrUnavailable
	}
	session, err := find(parent)
	switch {
	case err != nil:
		return err
	case session == nil:
		return Unknown
	}
	// Read anew: to find a session may take its time, in which the fence may have shut.
	return f.begin(parent, a, Identity{}, session, a.clock.Now())
}

// AdmitKey is Admit for what a key has begun and is done on its behalf now, when nobody presents it: a browser that
// comes back. id is the UID of its ApiKey. The key must be as good as if it were presented. The error is a Refusal or
// ErrUnavailable.
func (a *Authenticator) AdmitKey(
	parent context.Context, organization caller.Organization, id types.UID, f *Flight,
) error {
	now := a.clock.Now()
	if !a.serving(now) {
		return ErrUnavailable
	}
	k := a.index.keyOf(organization, id)
	if k == nil {
		return Unknown
	}
	s := k.slot.Load()
	switch {
	case s == nil:
		return Revoked
	case k.Environment() != a.environment:
		return WrongEnvironment
	}
	identity, err := s.recognise(now)
	if err != nil {
		return err
	}
	a.index.noteUse(s, now)
	return f.begin(parent, a, identity, nil, now)
}

// Known returns whose key was presented, whether it is served or not; the zero Caller if there is none of this
// environment. It is for logs, and lets nobody in: who is refused for a key that was revoked or has expired is somebody
// whom an operator looks for.
func (a *Authenticator) Known(authorization []string) *caller.Caller {
	s, err := a.find(authorization)
	if err != nil {
		return &nobody
	}
	return Identity{Key: s.key}.Caller()
}

// recognise tells whose key was presented, if it is served at now. The error is a Refusal.
func (a *Authenticator) recognise(authorization []string, now time.Time) (Identity, error) {
	s, err := a.find(authorization)
	if err != nil {
		return Identity{}, err
	}
	id, err := s.recognise(now)
	if err == nil {
		a.index.noteUse(s, now)
	}
	return id, err
}

// find returns the slot of the key that was presented, whether it is served or not. The error is a Refusal.
//
// The cheap checks come first: what has no valid checksum is never hashed and never looked up, so that noise costs
// little.
func (a *Authenticator) find(authorization []string) (*slot, error) {
	presented, err := bearer(authorization)
	if err != nil {
		return nil, err
	}
	switch env, err := a.format.Parse(presented); {
	case err != nil:
		return nil, Malformed
	case env != a.environment:
		return nil, WrongEnvironment
	}
	s := a.index.keys.get(key.DigestOf(presented))
	if s == nil {
		return nil, Unknown
	}
	// The prefix of a key brought by hash is its owner's choice. What counts is the environment of its ApiKey.
	if (s.state.Load()&live != 0) != (a.environment == key.Live) {
		return nil, WrongEnvironment
	}
	return s, nil
}

// recognise returns who comes with the slot's key. The error is a Refusal.
func (s *slot) recognise(now time.Time) (Identity, error) {
	profile, served := s.active(now)
	if !served { // and may be by now: a report of a leak can be taken back
		var state lifecycle.State
		if state, profile = s.standing(now); !state.Served() {
			return Identity{}, refusalFor(state.Reason)
		}
	}
	return Identity{Key: s.key, Profile: profile}, nil
}

// maxCredentials is more than any key's length, in bytes: what is longer is refused unread, so that a large header
// costs no hash.
const maxCredentials = 128

// bearer takes the credentials out of an Authorization header: exactly one, "Bearer" in any case (RFC 9110 section
// 11.1), spaces, one token (RFC 6750 section 2.1).
func bearer(values []string) (string, error) {
	switch {
	case len(values) == 0:
		return "", Missing
	case len(values) > 1 || len(values[0]) > maxCredentials:
		return "", Malformed
	}
	const scheme = "Bearer "
	token, usual := strings.CutPrefix(values[0], scheme)
	if !usual {
		if len(values[0]) < len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme) {
			return "", Malformed
		}
		token = values[0][len(scheme):]
	}
	return strings.TrimLeft(token, " "), nil
}

// refusalFor turns lifecycle's reason why a key is not served into a Refusal. It returns constants: as an error, a
// constant costs no allocation, and a variable does.
func refusalFor(reason string) error {
	switch reason {
	case "":
		return Revoked
	case v1alpha1.ReasonExpired:
		return Expired
	case v1alpha1.ReasonLeaked:
		return Leaked
	default:
		return Unserved
	}
}
