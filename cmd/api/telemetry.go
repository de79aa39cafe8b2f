// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"

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
