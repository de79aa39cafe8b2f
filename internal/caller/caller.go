// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package caller says who a request comes from, in the one form that every room above admission knows.
//
// Rows are scoped, rates are counted and refusals are logged by a Caller, never by a key: a person at the dashboard is
// a Caller too, and has no key. Only package admission hands one out.
package caller

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// Caller is who a request comes from, and what they reach. The zero Caller reaches nothing.
//
// It is never changed: requests of one key share it (authn.Identity), so that none costs an allocation, and its
// pointers lead to what many callers share.
type Caller struct {
	Organization Organization
	Environment  key.Environment
	// Profile that the caller is confined to; nil: they reach the whole organization.
	Profile *Profile
	Scopes  Scopes
	Claims  Claims // of a key; a person has none
	Actor   Actor

	// Rate is the caller's own, or their profile's; zero: the server's default counts.
	Rate rate.Rate
	// Meter counts what the caller has used of their rate in this process. It is not nil for whoever was admitted.
	Meter *rate.Meter
}

// Nobody tells whether no organization is reached, as by the zero Caller.
func (c *Caller) Nobody() bool { return c.Organization.ID == "" }

// ProfileID returns the id of the profile that the caller is confined to, or "".
func (c *Caller) ProfileID() string {
	if c.Profile == nil {
		return ""
	}
	return c.Profile.ID
}

// RateOr returns the caller's rate, or otherwise if they have none.
func (c *Caller) RateOr(otherwise rate.Rate) rate.Rate {
	if c.Rate.Requests > 0 {
		return c.Rate
	}
	return otherwise
}

// Organization is a namespace.
type Organization struct {
	ID   string // UID of the namespace
	Name string // name of the namespace
}

// Profile is a v1alpha1.Profile as callers are shown it. It is immutable.
type Profile struct {
	ID          string // UID of the Profile
	Name        string // resource name
	DisplayName string // never empty
	CreatedAt   time.Time
	UpdatedAt   time.Time // last change of the spec or the metadata
}

// ActorKind tells keys from people.
type ActorKind uint8

// The kinds of actors. The zero kind is nobody.
const (
	_      ActorKind = iota
	Key              // an API key
	Person           // somebody who is signed in at the dashboard
)

// Actor is who acts for the organization. What is stored as made by a caller names its actor.
type Actor struct {
	Kind ActorKind
	// ID of a key is the UID of its ApiKey; that of a person, the name by which Kubernetes knows them.
	ID string
	// Name is for people: the ApiKey's resource name, or what the person is called.
	Name string
	// ExpiresAt is when what the actor was admitted with (key or session) stops being good by itself; zero: never.
	ExpiresAt time.Time

	last4 [4]byte
}

// KeyActor is the actor of an API key. last4 are its last four characters; zero: they are not known.
func KeyActor(id, name string, expiresAt time.Time, last4 [4]byte) Actor {
	return Actor{Kind: Key, ID: id, Name: name, ExpiresAt: expiresAt, last4: last4}
}

// PersonActor is the actor of a person, whom Kubernetes knows as username. They are signed in until expiresAt.
func PersonActor(username string, expiresAt time.Time) Actor {
	return Actor{Kind: Person, ID: username, Name: username, ExpiresAt: expiresAt}
}

// Last4 returns the last four characters of the actor's key; "" if they are not known, or it has none.
func (a *Actor) Last4() string {
	if a.last4 == ([4]byte{}) {
		return ""
	}
	return string(a.last4[:])
}

// A person's reference begins so, and a key's never does: no UID has a colon.
const (
	personPrefix = "person:"
	// hashPrefix follows it if the username was too long. No escaped username begins so, because a colon is escaped:
	// whoever is called like the hash of somebody else's username is still told from them.
	hashPrefix = "sha256:"
	// maxEscaped is how many bytes of an escaped username fit: with personPrefix, the 128 that the columns of package
	// store take as an id.
	maxEscaped = 120
)

// Ref is how rows name the actor, in at most 128 bytes of printable ASCII without spaces: a key by its UID alone, as
// they always have; a person by "person:" and the username, percent-encoded, or, if that is longer than 120 bytes, by
// "person:sha256:" and the SHA-256 of the username in hexadecimal. "" for nobody.
//
// References of two actors differ, or what one has made would be taken for the other's.
func (a *Actor) Ref() string {
	switch a.Kind {
	case Key:
		return a.ID
	case Person:
		escaped := url.QueryEscape(a.ID)
		if len(escaped) > maxEscaped {
			sum := sha256.Sum256([]byte(a.ID))
			return personPrefix + hashPrefix + hex.EncodeToString(sum[:])
		}
		return personPrefix + escaped
	}
	return ""
}

// Directory holds the profiles there are to see for one caller, newest first (creation time, then id): nothing that the
// caller may not see is in what it returns. The slice is shared and must not be changed.
type Directory interface {
	Profiles(*Caller) []*Profile
}

// DefaultProfile is the resource name of the profile that things belong to which are made without naming one.
const DefaultProfile = "default"

// FindProfile returns the profile with this id, nil without it. It looks only among what the caller may see: so a
// profile of somebody else is not found in the same way, and after the same search, as one that never was.
func (c *Caller) FindProfile(in Directory, id string) *Profile {
	visible := in.Profiles(c)
	i := slices.IndexFunc(visible, func(p *Profile) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	return visible[i]
}

// HomeProfileID returns the id of the profile that something new of the caller's belongs to unless one is named: their
// own, else the organization's profile "default". Without that one it is "", and the thing is the organization's alone.
func (c *Caller) HomeProfileID(in Directory) string {
	if c.Profile != nil {
		return c.Profile.ID
	}
	for _, p := range in.Profiles(c) {
		if p.Name == DefaultProfile {
			return p.ID
		}
	}
	return ""
}
