// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import "time"

// Timeouts of every server here. Whoever takes longer is stuck or means harm, and each such connection costs memory and
// a file descriptor. A handler that moves more than a small body, such as an upload, moves its own deadlines.
const (
	// readHeaderTimeout bounds the header alone, before anybody knows who is asking. A header fits into a few packets.
	readHeaderTimeout = 5 * time.Second

	// readTimeout bounds the header and the body together: 1 MiB of JSON arrives within it at 35 kB/s.
	readTimeout = 30 * time.Second

	// writeTimeout bounds the answer, and is counted from the end of the header on. It has to be longer than readTimeout:
	// otherwise whoever stops in the middle of a body is cut off without the answer that says so.
	writeTimeout = readTimeout + 5*time.Second

	// idleTimeout is how long a connection is kept for a next request. It is longer than the 60 seconds for which nginx
	// and AWS's load balancers keep theirs by default: if the server were the first to close, a request could be on its
	// way.
	idleTimeout = 2 * time.Minute
)

// adminTimeout bounds the stop of the admin server. Scrapes are short, and nothing is lost with one that is cut off.
const adminTimeout = 5 * time.Second

// rereadEvery is how often the files of a Certificate are looked at. A kubelet takes longer, up to a minute or two, to
// bring the pod a Secret that has changed.
const rereadEvery = 5 * time.Second
