// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package testlog is a log that a test reads.
package testlog

import (
	"bytes"
	"sync"
)

// Buffer is a log that may be read while it is written: what a test has started writes whenever it has to, and a
// bytes.Buffer that is read meanwhile is a race.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is io.Writer's.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what was written by now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Reset forgets it.
func (b *Buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Reset()
}
