// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"io"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// leftover is how much of a request that has got its answer is read and thrown away. Clients such as Python's urllib
// send all of a request before they read: if the connection were closed meanwhile, they would see a broken connection
// in place of the answer (RFC 9112 section 9.6).
type leftover struct {
	bytes  int64
	within time.Duration // in all
	stall  time.Duration // without a byte
	clock  clock.PassiveClock
	ends   func() bool // the process is about to stop
}

// buffers are what leftovers are read into. Many may be read at once, by whoever wants that.
var buffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// discard reads on within the bounds of o, until there is nothing more or the reader fails.
func discard(from io.Reader, setDeadline func(time.Time) error, o leftover) {
	buffer := buffers.Get().(*[8 << 10]byte)
	defer buffers.Put(buffer)
	now := o.clock.Now()
	for left, last := o.bytes, now.Add(o.within); left > 0 && !o.ends(); now = o.clock.Now() {
		deadline := now.Add(o.stall)
		if deadline.After(last) {
			deadline = last
		}
		if setDeadline(deadline) != nil {
			return
		}
		n, err := from.Read(buffer[:])
		if left -= int64(n); err != nil {
			return
		}
	}
}
