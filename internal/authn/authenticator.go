// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"strings"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Refusal says why nobody was recognised. It is for metrics and logs; callers of the API are told one thing for all.
type Refusal string

// The refusals.
const (
	Missing          Refusal = "missing"           // no Authorization header at all
	Malformed        Refusal = "malformed"         // not one Bearer header with a well-formed key
	WrongEnvironment Refusal = "wrong_environment" // a key of the other environment
	Unknown          Refusal = "unknown"           // no such key, or revoked and gone
	Revoked          Refusal = "revoked"           // being deleted
	Expired          Refusal = "expired"
	Unserved         Refusal = "unserved" // its Profile is gone, or it is a duplicate
)

// Refusals lists them all.
var Refusals = []Refusal{Missing, Malformed, WrongEnvironment, Unknown, Revoked, Expired, Unserved}

// Error makes a Refusal an error. It holds nothing of what the caller sent.
func (r Refusal) Error() string { return "unauthenticated: " + string(r) }

// Authenticator recognises the keys of one environment.
type Authenticator struct {
	format      key.Format
	environment key.Environment
	index       *Index
	clock       clock.PassiveClock
}

// NewAuthenticator returns an Authenticator for the keys of environment that index holds.
func NewAuthenticator(index *Index, format key.Format, environment key.Environment, clock clock.PassiveClock) *Authenticator {
	return &Authenticator{format: format, environment: environment, index: index, clock: clock}
}

// Authenticate takes the values of a request's Authorization header. The error is a Refusal.
//
// It costs one hash and one lookup, less for what is malformed, and allocates nothing.
func (a *Authenticator) Authenticate(authorization []string) (Identity, error) {
	presented, err := bearer(authorization)
	if err != nil {
		return Identity{}, err
	}
	switch env, err := a.format.Parse(presented); {
	case err != nil:
		return Identity{}, Malformed
	case env != a.environment:
		return Identity{}, WrongEnvironment
	}
	s := a.index.keys.get(key.HashOf(presented))
	if s == nil {
		return Identity{}, Unknown
	}
	if (s.state.Load()&live != 0) != (a.environment == key.Live) {
		return Identity{}, WrongEnvironment
	}
	now := a.clock.Now()
	state, profile := s.judge(now)
	if !state.Served() {
		return Identity{}, refusalOf(state.Reason)
	}
	s.touch(now)
	return Identity{Key: s.key, Profile: profile}, nil
}

// maxCredentials is more than any key's length: what is longer is refused unread.
const maxCredentials = 128

// bearer takes the credentials out of an Authorization header: exactly one, "Bearer", spaces, one token (RFC 6750
// section 2.1).
func bearer(values []string) (string, error) {
	switch {
	case len(values) == 0:
		return "", Missing
	case len(values) > 1 || len(values[0]) > maxCredentials:
		return "", Malformed
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return "", Malformed
	}
	return strings.TrimLeft(token, " "), nil
}

// refusalOf returns a constant as an error: that one is made without an allocation, one made of a variable is not.
func refusalOf(reason string) error {
	switch reason {
	case "":
		return Revoked
	case v1alpha1.ReasonExpired:
		return Expired
	default:
		return Unserved
	}
}
