// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/letmepost/letmepost-operator/internal/process"
	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// addTraceFlags adds the flags of traces, in the style of this program's other flags. By default there are none: only
// the operator knows where a collector is. The texts are this program's, so that --help reads as one.
func addTraceFlags(fs *pflag.FlagSet, traces *tracing.Flags) {
	traces.Add(fs,
		"base `URL` of the OpenTelemetry collector that takes traces by OTLP over HTTP, "+
			"such as http://collector:4318; empty: no traces",
		"part of the reconciles that are traced, from 0 to 1")
}

// startTraces begins to export traces; nil if there are to be none. internal/tracing logs by slog, as the API does; the
// handler brings that to this program's logger.
func (o *options) startTraces(ctx context.Context, logger logr.Logger) (*tracing.Traces, error) {
	return o.traces.Start(ctx, tracing.Options{
		Service: "letmepost-controller", Instance: process.Hostname(), Clock: clock.RealClock{},
		Logger: slog.New(logr.ToSlogHandler(logger)),
	})
}

// newAudit makes the audit log. It is a logger of its own with a level of its own: what happens to keys is written at
// every --log-level. The name tells its lines from the log's, which go to the same stream.
//
// Nothing but Info is written to it. The level is that low because above it controller-runtime drops lines: beyond a
// hundred of one message in a second, 99 of 100, which is what a log of errors wants and an audit log must not have.
func newAudit(stderr io.Writer) logr.Logger {
	const unsampled = zapcore.Level(-2)
	return zap.New(zap.JSONEncoder(), zap.Level(unsampled), zap.WriteTo(stderr)).WithName("audit")
}
