// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/lifecycle"
)

// Profile is what the index knows of a v1alpha1.Profile. It is immutable: a change makes another one, which the pin
// leads to from then on.
type Profile struct {
	caller.Profile

	uid          types.UID
	organization *caller.Organization // nil: the controller has not said yet
	namespace    string
	life         lifecycle.Profile
	rate         compactRate // of keys that have none
}

// pin is the tie of keys to one Profile. All keys of a Profile share it, so that the Profile's going is seen at once by
// all of them and costs the same whatever their number.
type pin struct {
	id      types.UID
	profile atomic.Pointer[Profile] // nil: not there (yet, or any more)
	keys    int                     // under Index.mu: the keys that hold this pin
}
