// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// OnWithdraw sets what is called with a key that is being deleted together with all it has queued, as
// v1alpha1.AnnotationCancelScheduled asks for. It is set before the first key is put.
//
// It is called once for each such key that the index holds, whatever the environment, and whether the key was known
// before or not: after its requests have been cut and the last write of them is over, so that whatever this process
// wrote with the key is there to be found. It is called without a lock held, but by who feeds the index or answers a
// request: it must return at once, and work elsewhere. Until it calls done, the key counts as one with a write past its
// commit point, so that its revocation is not confirmed. To call done more than once does no harm.
func (x *Index) OnWithdraw(withdraw func(k *Key, done func())) { x.withdraw = withdraw }

// withdrawKey has the key withdrawn, as soon as none of its writes runs. Its flights must have been cut.
func (x *Index) withdrawKey(k *Key) {
	if x.withdraw == nil {
		return
	}
	x.flights.afterCommits(k.id, func() {
		var once sync.Once
		x.withdraw(k, func() {
			once.Do(func() {
				x.endWrite(k.id)
				x.commitsOver()
			})
		})
	})
}

// endWrite counts down a write, or what counts as one, and does what has waited for the last of them.
func (x *Index) endWrite(id types.UID) {
	if next := x.flights.count(id, -1); next != nil {
		next()
	}
}

// afterCommits calls do when the key with this UID has no write past its commit point, which is now or when the last of
// them ends. From now on, and while do's own work lasts, it counts as one itself: whoever does it calls endWrite.
func (fs *flights) afterCommits(id types.UID, do func()) {
	fs.commitsMu.Lock()
	idle := fs.commits[id] == 0
	if idle {
		fs.commits[id] = 1
	} else {
		fs.waiting[id] = do
	}
	fs.commitsMu.Unlock()
	if idle {
		do()
	}
}

// cancelsScheduled tells whether the deletion of an ApiKey is to cancel what the key has queued.
func cancelsScheduled(k *v1alpha1.ApiKey) bool {
	return k.Annotations[v1alpha1.AnnotationCancelScheduled] == v1alpha1.CancelScheduled
}
