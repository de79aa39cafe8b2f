// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// telemetry is the flags of traces.
type telemetry struct {
	otlpEndpoint     string
	traceSampleRatio float64
}

func (t *telemetry) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(
		&t.otlpEndpoint,
		"otlp-endpoint",
		"",
		"Base URL of the OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://collector:4318. Without it there are none.",
	)
	flags.Float64Var(
		&t.traceSampleRatio,
		"trace-sample-ratio",
		0.1,
		"Part of the traces that begin here which are recorded, from 0 to 1. Of a trace that a caller has begun (traceparent), the caller has decided.",
	)
}

// tracingOptions are the options of the traces. The error is a usageError.
func (t telemetry) tracingOptions(logger *slog.Logger) (tracing.Options, error) {
	instance, err := os.Hostname()
	if err != nil {
		instance = "unknown host"
	}
	o := tracing.Options{
		Endpoint: t.otlpEndpoint, Ratio: t.traceSampleRatio,
		Service: "letmepost-api", Instance: instance, Clock: clock.RealClock{}, Logger: logger,
	}
	if err := o.Check(); err != nil {
		return o, usageError{err.Error()}
	}
	return o, nil
}

// startTraces begins to export traces; nil if there are to be none.
func (t telemetry) startTraces(ctx context.Context, logger *slog.Logger) (*tracing.Traces, error) {
	o, err := t.tracingOptions(logger)
	if err != nil {
		return nil, err
	}
	return tracing.New(ctx, o)
}

// newLoggers makes the log, and the audit log, which is written at every --log-level.
func newLoggers(stderr io.Writer, level slog.Level) (logger, audit *slog.Logger) {
	w := &lines{w: stderr}
	logger = slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	return logger, slog.New(slog.NewJSONHandler(w, nil)).With("logger", "audit")
}

// lines keeps the lines of two loggers apart.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes one line.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}

// newIndex makes an index that writes an audit line for each key of this environment from whose deletion on it refuses
// it.
func newIndex(environment key.Environment, audit *slog.Logger) *authn.Index {
	index := authn.NewIndex()
	index.OnRevoked(func(k *authn.Key, running int) {
		if k.Environment() == environment {
			audit.Info("Key refused from now on", "event", "key.refused", "keyId", string(k.ID()),
				"key", k.Organization.Name+"/"+k.Name, "environment", string(environment), "runningRequests", running)
		}
	})
	return index
}
