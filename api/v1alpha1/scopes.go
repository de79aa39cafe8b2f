// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"regexp"
	"slices"
)

// The scopes that this API knows. A key without spec.scopes has all of them.
const (
	ScopePostsRead     Scope = "posts:read"
	ScopePostsWrite    Scope = "posts:write"
	ScopeMediaRead     Scope = "media:read"
	ScopeMediaWrite    Scope = "media:write"
	ScopeAccountsRead  Scope = "accounts:read"
	ScopeAccountsWrite Scope = "accounts:write"
)

// Scopes lists them all, in the order in which documentation does. It is the one list in Go: what a key has by default,
// what the API checks and what it shows are derived from it. The markers of Scope and of spec.scopes can't be: a test
// holds them to it.
var Scopes = [...]Scope{
	ScopePostsRead, ScopePostsWrite,
	ScopeMediaRead, ScopeMediaWrite,
	ScopeAccountsRead, ScopeAccountsWrite,
}

// What the schema allows of scopes and claims, for whoever reads objects that have not passed it, or asks for a scope
// somewhere else. A test holds the schema to these, too.
const (
	MaxScopes     = 32 // of a key, of both kinds
	maxScope      = 63
	maxClaimName  = 63
	maxClaimValue = 128
)

var (
	ownScope = regexp.MustCompile(
		`^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?(:[a-z]([-a-z0-9._]*[a-z0-9])?)+$`)
	reserved   = regexp.MustCompile(`^([-a-z0-9.]+[.])?letmepost[.]dev:`)
	claimName  = regexp.MustCompile(`^[a-z]([-a-z0-9._]*[a-z0-9])?$`)
	claimValue = regexp.MustCompile(`^[-A-Za-z0-9._~:/@+]([-A-Za-z0-9._~:/@+ ]*[-A-Za-z0-9._~:/@+])?$`)
)

// BuiltIn tells whether the scope is one of Scopes, which this API knows.
func (s Scope) BuiltIn() bool { return slices.Contains(Scopes[:], s) }

// Own tells whether the scope is somebody's own: it names a domain, and not this project's.
func (s Scope) Own() bool {
	return len(s) <= maxScope && ownScope.MatchString(string(s)) && !reserved.MatchString(string(s))
}

// IsClaim tells whether a key may have such a claim.
func IsClaim(name string, value ClaimValue) bool {
	return len(name) <= maxClaimName && len(value) <= maxClaimValue &&
		claimName.MatchString(name) && claimValue.MatchString(string(value))
}
