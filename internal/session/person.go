// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package session knows who is signed in: their session, their credential, and what the cluster lets them do with it.
//
// Nobody has powers here but a person's own: what they do to ApiKeys and Profiles is a request of theirs to the
// apiserver (Cluster), and what they see of the database is guarded by rights that RBAC gives them (Cluster.May).
//
// A session begins in manager.go or handover.go, is stored as seal.go has sealed it, and is found again for each
// request, as package admission asks for it (admitted.go). apiserver.go and cluster.go are the way of a person to the
// cluster; rights.go and rules.go ask what they may do there, and organizations.go where. renew.go has a provider
// renew the credential, and use.go notes that somebody is there. people.go is all that this process keeps in memory
// of it, and it may forget that at any time.
package session

import (
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Person is somebody who is signed in, for one request. It is an authn.Session. Each request has its own, and those
// of one session share what is behind here and Cluster.
type Person struct {
	Username string // as Kubernetes knows them
	Groups   []string
	// Organization that they have chosen; the zero one until they have, and if it is not there any more.
	Organization caller.Organization
	Environment  key.Environment
	SignedInAt   time.Time
	// ExpiresAt is when the session ends whatever happens: after twelve hours, or with a credential that nobody renews.
	ExpiresAt time.Time
	// Cluster is what they reach with their own credential.
	Cluster *Cluster

	here *here // what this process knows of their session
	// renewable tells that a credential which the apiserver refuses is renewed by the next request, and is no end.
	renewable bool
	until     time.Time // when the credential expires that Cluster has; zero: that is not known
}

func (m *Manager) person(row store.SignedIn, is contents, h *here) *Person {
	return &Person{
		Username: is.Username, Groups: is.Groups, Organization: row.Organization, Environment: m.o.Environment,
		SignedInAt: is.SignedInAt, ExpiresAt: row.ExpiresAt, Cluster: h.cluster, here: h, until: is.Credential.until(),
		renewable: m.renewable(is.Credential),
	}
}

// Caller returns the person as rooms above admission know them, with all scopes: what they may do is asked of RBAC for
// each page (Cluster.May), and not written into their session.
func (p *Person) Caller() caller.Caller {
	return caller.Caller{
		Organization: p.Organization, Environment: p.Environment, Scopes: caller.AllScopes,
		Actor: caller.PersonActor(p.Username, p.ExpiresAt), Meter: p.here.meter,
	}
}

// ErrNotTaken says that the cluster does not take a credential which the next request renews: nothing more is done by
// it, and yet nobody is signed out. It is an admission.ErrUndecided. If the credential can't be renewed after all, the
// next request finds that out, and ends the session.
var ErrNotTaken = fmt.Errorf("%w: the cluster does not take a credential; it is renewed next", admission.ErrUndecided)

// Refusal says why the session is not good at now; nil: it is. ErrNotTaken is for one that goes on.
//
// It goes by what is in memory, because each request asks several times (authn.Session). That the session is over
// comes first: a credential that could be renewed does not heal it.
func (p *Person) Refusal(now time.Time) error {
	expired := !p.until.IsZero() && !now.Before(p.until)
	switch {
	case !now.Before(p.ExpiresAt), p.here.ended.Load(): // or: they have signed out, as far as this process knows
		return authn.Expired
	case p.renewable && (expired || p.Cluster.Refused()):
		return ErrNotTaken
	case expired:
		return authn.Expired
	case p.Cluster.Refused():
		return authn.Revoked
	}
	return nil
}
