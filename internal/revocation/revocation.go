// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package revocation is the barrier between deleting an ApiKey and its being gone: both ends of it.
//
// Every API process is a Replica. It holds a Lease, and names on it the keys that it refuses because they are being
// deleted. The controller asks the Barrier whom a deletion still waits for, and lifts the ApiKey's finalizer when that
// is nobody. A Replica that can't renew its Lease shuts its fence, and accepts nothing, before the Barrier may count it
// out:
//
//	sent   F: the fence shuts             the Replica's clock
//	 │──────────►│
//	 └ renewal ┐
//	           │───────────────►│         the Barrier's clock
//	          seen     L: the Lease has expired
//
// F is less than L, and neither reads the other's clock. docs/revocation.md has the argument, test/model checks it.
//
// lease.go says what stands on a Lease, fence.go what F is. The Replica's end is in replica.go, renewal.go and
// relist.go; the Barrier's is in barrier.go, replicas.go and sweep.go; nudge.go has both ends of how the controller
// tells a replica that it is late.
package revocation
