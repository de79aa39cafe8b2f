// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"
)

// newRequestID returns a UUID of version 4 (RFC 9562), made of the runtime's own random numbers: they need neither a
// lock nor a system call, and a request id is no secret. It takes 0.06 us, where uuid.NewString takes 0.16: a hundredth
// of a GET /v1/whoami. An id that two requests have would only make a log harder to read.
func newRequestID() string {
	var id uuid.UUID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // G404: unique is enough
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // G404: unique is enough
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80      // the version, and the variant
	return id.String()
}
