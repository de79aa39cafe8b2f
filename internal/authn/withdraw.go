// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// OnWithdraw sets what is called with a key that is being deleted together with all it has queued, as
// v1alpha1.AnnotationCancelScheduled asks for. It is set before the first key is put.
//
// It is called once for each such key that the index holds, whatever the environment, and whether the key was known
// before or not: after its requests have been cut and the last write of them is over, so that whatever this process
// wrote with the key is there to be found. And it is called once more when no replica accepts the key any more, for
// what others wrote until then (see Feed.Canceled). It is called without a lock held, but by who feeds the index or
// answers a request: it must return at once, and work elsewhere. Until it calls done, the key counts as one with a
// write past its commit point, so that its revocation is not confirmed. To call done more than once does no harm.
func (x *Index) OnWithdraw(withdraw func(k *Key, done func())) { x.onWithdraw = withdraw }

// withdrawAgain has a key withdrawn that no replica accepts any more, whether the index holds it or not.
//
// Model: step Withdraw.
func (x *Index) withdrawAgain(o *v1alpha1.ApiKey) {
	organization := caller.Organization{ID: o.Status.OrganizationID, Name: o.Namespace}
	x.withdrawKey(withdrawableKey(o, organization))
}

// withdrawKey has the key withdrawn, as soon as none of its writes runs. Its flights must have been cut: a write that
// began later could queue what nobody would cancel any more.
func (x *Index) withdrawKey(k *Key) {
	if x.onWithdraw == nil {
		return
	}
	x.flights.afterCommits(k.ID(), func() {
		var once sync.Once
		x.onWithdraw(k, func() {
			once.Do(func() {
				x.endCommitOf(k.ID())
				x.commitsOver()
			})
		})
	})
}
