// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission lets requests in. Whatever carries a request (an HTTP route, a proxy's question, a page), it passes
// the same order here, and nowhere else:
//
//	fence        a replica that can't be sure to hear of revocations admits nobody
//	credentials  one key, or where the operation allows it one session; a key decides if there are both
//	environment  of the key
//	scope        that the operation needs
//	rate         of the caller; of the address, for those who were not recognised
//
// In this order: who is not known is told nothing of scopes, and who may not do a thing does not pay for it. What comes
// out is a Caller in an Admitted, or a Refusal that says all that an answer of any protocol needs.
//
// The room knows nothing of HTTP, so that whatever guards other services can stand on it. Nobody else asks package
// authn to admit: test/arch holds that, because whoever recognises keys by another way skips the fence, and breaks the
// third promise of docs/revocation.md.
package admission

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/limit"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// Access says who may ask for an operation.
type Access uint8

const (
	// KeyOnly: an API key. It is the zero value: an operation that does not say who may ask for it is closed.
	KeyOnly Access = iota
	// KeyOrSession: an API key, or the session of somebody who is signed in.
	KeyOrSession
	// Anyone: no credentials are asked for, or looked at. Such an operation never comes here.
	Anyone
)

// Need is what an operation asks of its caller: of a key a scope, of a person a right.
type Need struct {
	Access Access
	Scope  v1alpha1.Scope   // "": every caller has it
	Also   []v1alpha1.Scope // further ones, for operations of others' that need several
	// Verb and Resource, of group letmepost.dev, are the right that a person needs in the organization. Without a
	// resource, they need none: then the operation asks itself for whatever it shows.
	Verb, Resource string
}

// Credentials are what a request shows of whom it comes from.
type Credentials struct {
	// Authorization is all values of that header, or of what stands for it; nil: there is none.
	Authorization []string
	// Session is the token of a session; "": there is none.
	Session string
	// Organization is the name or the id of the one that a person means; "": their active one. A key has its own.
	Organization string
	// From is where the request comes from. It is asked only when somebody was not recognised.
	From Origin
}

// Origin is where a request comes from. It is an interface because working it out (peers, trusted proxies, headers)
// costs more than all else here, and most requests never need it.
type Origin interface {
	// Address returns the client's address; the zero Addr if it is not known, which counts as an address like any other.
	Address() netip.Addr
}

// Authenticator recognises keys and people; *authn.Authenticator is one. A flight that was admitted must be ended.
type Authenticator interface {
	Admit(ctx context.Context, now time.Time, authorization []string, f *authn.Flight) error
	AdmitSession(ctx context.Context, find func(context.Context) (authn.Session, error), f *authn.Flight) error
	AdmitKey(ctx context.Context, organization caller.Organization, id types.UID, f *authn.Flight) error
	// Known returns whose key was presented, whether it is served or not; the zero Caller if there is none.
	Known(authorization []string) *caller.Caller
}

// Errors of Sessions that are no refusals: who it is, is known or can't be told.
var (
	// ErrNoOrganization says that there is no such organization, or none in which the person has the right that is needed:
	// whoever tries names is not told which.
	ErrNoOrganization = errors.New("there is no such organization that the person sees")
	// ErrNoneChosen says that a request names no organization, and that its person has not chosen any.
	ErrNoneChosen = errors.New("no organization is named or chosen")
	// ErrUndecided says that nobody can tell at the moment who is signed in, or what they may.
	ErrUndecided = errors.New("it can't be told who is signed in, or what they may do")
)

// Sessions finds the session that is shown, of somebody who may do what is needed in the organization that they mean.
// The error of a session that is nobody's is an authn.Refusal. Others (those above, or the database's) are returned as
// they are.
type Sessions interface {
	Find(ctx context.Context, shown Credentials, n Need) (authn.Session, error)
}

// Options are what an Admission is made of. All are required except where they say otherwise.
type Options struct {
	Authenticator Authenticator
	// Sessions of people. Optional: without it, nobody is let in by a session.
	Sessions Sessions
	Limits   *limit.Callers
	// Failures limits how often one address may fail to be recognised before it is only told to wait.
	Failures *limit.Addresses
}

// Admission lets requests in.
type Admission struct {
	o            Options
	unrecognised map[authn.Refusal]*Refusal
	scopes       map[v1alpha1.Scope]*Refusal
}

// New returns an Admission. The error says what is missing.
func New(o Options) (*Admission, error) {
	if o.Authenticator == nil || o.Limits == nil || o.Failures == nil {
		return nil, errors.New("admission: Authenticator, Limits and Failures are required")
	}
	return &Admission{o: o, unrecognised: unauthenticated(), scopes: insufficientScopes()}, nil
}

// Admitted is a request that was let in, until it is answered. It lives in what stands for the request, must not be
// copied, and has to be ended. The zero Admitted is a request that was not.
type Admitted struct {
	flight authn.Flight
	who    *caller.Caller // nil: nobody was recognised
	// Allowance is what is left of the caller's rate; the zero one if they have none, or were not recognised.
	Allowance rate.Allowance
}

// Caller returns who it is, also if they were recognised and refused all the same: that is to be logged. It is the zero
// Caller, who reaches nothing, if nobody was recognised. It must not be changed.
func (a *Admitted) Caller() *caller.Caller {
	if a.who == nil {
		return &nobody
	}
	return a.who
}

var nobody caller.Caller

// Session is that of the person who was let in; nil: it is a key's request.
func (a *Admitted) Session() authn.Session { return a.flight.Session() }

// KeyMintedAt is when the key was minted, or brought, that was let in; zero: that is not known, or it is no key.
func (a *Admitted) KeyMintedAt() time.Time { return a.flight.KeyMintedAt() }

// Context returns the context for whatever is done for the request that takes time. It ends, too, when the caller
// ceases to be good, with that as its cause. Package write commits in it. Only a request that was let in has one.
func (a *Admitted) Context() context.Context { return a.flight.Context() }

// Err says why the caller is not good any more: an error that Of makes a Refusal of. Nil: they are.
func (a *Admitted) Err() error { return a.flight.Err() }

// End takes note that the request is about to be answered, and says why the answer must not go out after all, as Err
// does. Nil: it may. It may be called again, and says the same; of the zero Admitted it says nothing.
func (a *Admitted) End() error { return a.flight.End() }

// refuse ends a request whose caller was recognised, and is not let in. Nothing runs of it; End says again whether it
// was cut.
func (a *Admitted) refuse(why *Refusal) *Refusal {
	a.flight.CountRefused()
	_ = a.flight.End()
	return why
}

// Admit lets in a request that came at now, for as long as ctx lasts. Without an error, r is that request, and must be
// ended. The error is a *Refusal, or what kept a session from being looked up; then r.Allowance may be set all the
// same, because whoever has used theirs up is told so.
//
// An accepted key costs two hashes and one lookup, and nothing is allocated. now is when the request came.
func (a *Admission) Admit(ctx context.Context, now time.Time, c Credentials, n Need, r *Admitted) error {
	if err := a.recognise(ctx, now, c, n, &r.flight); err != nil {
		return a.fail(err, c, now)
	}
	r.who = r.flight.Caller()
	if n.Scope != "" && !r.who.Scopes.Has(n.Scope) {
		return r.refuse(a.lacks(n.Scope))
	}
	for _, scope := range n.Also {
		if !r.who.Scopes.Has(scope) {
			return r.refuse(a.lacks(scope))
		}
	}
	r.Allowance = a.o.Limits.Take(ctx, r.who, now)
	if !r.Allowance.Allowed {
		return r.refuse(&Refusal{Code: RateLimited, RetryAfter: r.Allowance.RetryAfter})
	}
	return nil
}

// AdmitAgain lets in what somebody has begun, who was let in with this scope then, and is not there now: a browser
// comes back for them. They must be as good as if they were, and the request counts for nobody's rate. actor is how
// rows name them. As with Admit, r must be ended if there is no error.
func (a *Admission) AdmitAgain(
	ctx context.Context, organization caller.Organization, actor string, scope v1alpha1.Scope, r *Admitted,
) error {
	// Of a person, only their session could say whether they still may.
	if err := a.o.Authenticator.AdmitKey(ctx, organization, types.UID(actor), &r.flight); err != nil {
		if refusal := a.Of(err); refusal != nil {
			return refusal
		}
		return err
	}
	r.who = r.flight.Caller()
	if scope != "" && !r.who.Scopes.Has(scope) {
		return r.refuse(a.lacks(scope))
	}
	return nil
}

// Inspect is Admit for somebody who holds a key in their hands, asks what it is, and does nothing by it: it needs no
// scope, and the question counts for nobody's rate. The error is a *Refusal, or none that is known. As with Admit, r
// must be ended if there is no error.
func (a *Admission) Inspect(ctx context.Context, now time.Time, presented string, r *Admitted) error {
	err := error(authn.Malformed)
	if !strings.HasPrefix(presented, " ") { // which a header may have there, and a key may not
		err = a.o.Authenticator.Admit(ctx, now, []string{"Bearer " + presented}, &r.flight)
	}
	if err != nil {
		if refusal := a.Of(err); refusal != nil {
			return refusal
		}
		return err
	}
	r.who = r.flight.Caller()
	return nil
}

// Failed counts an attempt to guess what only somebody else could know against where it came from. The error is a
// *Refusal if there were too many.
func (a *Admission) Failed(now time.Time, from Origin) error {
	left := a.o.Failures.Take(from.Address(), now)
	if left.Allowed {
		return nil
	}
	return &Refusal{Code: RateLimited, RetryAfter: left.RetryAfter, ByAddress: true}
}

// recognise finds out who it is. A key decides if one is shown, be it wrong: falling back to a session would make
// whoever sends the wrong key somebody else.
func (a *Admission) recognise(ctx context.Context, now time.Time, c Credentials, n Need, f *authn.Flight) error {
	if len(c.Authorization) == 0 && c.Session != "" && n.Access == KeyOrSession && a.o.Sessions != nil {
		return a.o.Authenticator.AdmitSession(ctx, func(ctx context.Context) (authn.Session, error) {
			return a.o.Sessions.Find(ctx, c, n)
		}, f)
	}
	return a.o.Authenticator.Admit(ctx, now, c.Authorization, f)
}

// fail counts a failed attempt against where it came from. A good key is let in from there all the same, so that
// neighbours behind one address can't lock each other out.
func (a *Admission) fail(err error, c Credentials, now time.Time) error {
	refusal := a.Of(err)
	if refusal == nil {
		return err
	}
	if refusal.Code != Unauthenticated || c.From == nil {
		return refusal
	}
	left := a.o.Failures.Take(c.From.Address(), now)
	if left.Allowed {
		return refusal
	}
	limited := *refusal
	limited.Code, limited.Challenge, limited.RetryAfter, limited.ByAddress = RateLimited, "", left.RetryAfter, true
	return &limited
}

// Presented returns the actor and the organization of the key that a request showed, whether it is served or not; the
// zero ones if there is none of this environment. It is for logs alone: who is refused for a key that was revoked or
// has expired is somebody whom an operator looks for.
func (a *Admission) Presented(authorization []string) (caller.Actor, caller.Organization) {
	c := a.o.Authenticator.Known(authorization)
	return c.Actor, c.Organization
}
