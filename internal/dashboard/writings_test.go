// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"bytes"
	"os"
	"sync"
	"testing"
)

// writings are all that was logged.
type writings struct {
	mu    sync.Mutex
	text  bytes.Buffer
	files []string
}

func (l *writings) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// also is the log of another process.
func (l *writings) also(file string) string {
	l.files = append(l.files, file)
	return file
}

func (l *writings) read(t *testing.T) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.text.String()
	for _, file := range l.files {
		text, err := os.ReadFile(file)
		check(t, err)
		all += string(text)
	}
	return all
}
