// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// ParseLevel reads --log-level. The four levels have names of ours: slog's own parser takes "INFO+2", which the chart's
// schema does not know.
func ParseLevel(text string) (slog.Level, error) {
	level, ok := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[strings.ToLower(text)]
	if !ok {
		return 0, fmt.Errorf("want debug, info, warn or error, not %q", text)
	}
	return level, nil
}

// NewLoggers makes the log, and the audit log, which is written at every --log-level: who was refused is not to depend
// on how much an operator wants to read. Both write JSON to one stream, told apart by "logger":"audit". Standard error
// and no file: the kubelet keeps what containers write, and rotates it.
func NewLoggers(stderr io.Writer, level slog.Level) (logger, audit *slog.Logger) {
	w := &lines{w: stderr}
	logger = slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	return logger, slog.New(slog.NewJSONHandler(w, nil)).With("logger", "audit")
}

// lines keeps the lines of two loggers apart: each locks only against itself, and they share the writer. A line that
// another one cuts in two is no JSON, and a collector of logs drops both.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes one line. slog's handlers hand each line over in one call.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}
