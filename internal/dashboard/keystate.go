// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// keyState is how a key stands, for people.
type keyState struct {
	Name  string // in URLs
	Class string // of the badge: good, warn, bad
	Text  string // key of a text
	Why   string // key of the sentence that says what it means
	// Said is what the controller says about it; "": nothing beyond that sentence.
	Said string
}

// keyStates are all reasons of Ready, and "" for a key that is being deleted. A reason that is not here is one that
// waits: the controller's message says for what.
var keyStates = map[string]keyState{
	v1alpha1.ReasonActive:          {"active", "good", "keys.active", "keys.activeWhy", ""},
	v1alpha1.ReasonExpired:         {"expired", "bad", "keys.expired", "keys.expiredWhy", ""},
	v1alpha1.ReasonProfileNotFound: {"profile-gone", "bad", "keys.profileGone", "keys.profileGoneWhy", ""},
	v1alpha1.ReasonDuplicateHash:   {"duplicate", "bad", "keys.duplicate", "keys.duplicateWhy", ""},
	v1alpha1.ReasonLeaked:          {"leaked", "bad", "keys.leaked", "keys.leakedWhy", ""},
	v1alpha1.ReasonPending:         {"pending", "", "keys.pending", "keys.pendingWhy", ""},
	"":                             {"revoking", "warn", "keys.revoking", "keys.revokingWhy", ""},
}

func stateOf(reason string) keyState {
	s, ok := keyStates[reason]
	if !ok {
		return keyStates[v1alpha1.ReasonPending]
	}
	return s
}

// stateOption is a state to choose from.
type stateOption struct{ Name, Text string }

var stateOptions = func() (all []stateOption) {
	for _, s := range keyStates {
		all = append(all, stateOption{s.Name, s.Text})
	}
	// A map has another order in each process: the choices would change their places from one replica to the next.
	slices.SortFunc(all, func(a, b stateOption) int { return strings.Compare(a.Name, b.Name) })
	return all
}()
