// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// addTraceFlags adds the flags of traces. By default there are none: only the operator knows where a collector is.
func addTraceFlags(flags *pflag.FlagSet, traces *tracing.Flags) {
	traces.Add(flags,
		"Base URL of the OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://collector:4318. "+
			"Without it there are none.",
		"Part of the traces that begin here which are recorded, from 0 to 1. "+
			"Of a trace that a caller has begun (traceparent), the caller has decided.")
}

// startTraces begins to export traces; nil if there are to be none. A collector that is away is no error, and costs no
// request anything.
func (o *options) startTraces(ctx context.Context, logger *slog.Logger) (*tracing.Traces, error) {
	return o.traces.Start(ctx, tracing.Options{
		Service: "letmepost-api", Instance: process.Hostname(), Clock: clock.RealClock{}, Logger: logger,
	})
}

// newLoggers makes the log, and the audit log, which is written at every --log-level: who was refused is not to depend
// on how much an operator wants to read. Both write JSON to one stream, told apart by "logger":"audit". Standard error
// and no file: the kubelet keeps what containers write, and rotates it.
func newLoggers(stderr io.Writer, level slog.Level) (logger, audit *slog.Logger) {
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
