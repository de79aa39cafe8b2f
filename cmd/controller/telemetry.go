// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// telemetry is the flags of traces.
type telemetry struct {
	otlpEndpoint     string
	traceSampleRatio float64
}

func (t *telemetry) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(
		&t.otlpEndpoint,
		"otlp-endpoint",
		"",
		"base `URL` of the OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://collector:4318; empty: no traces",
	)
	fs.Float64Var(&t.traceSampleRatio, "trace-sample-ratio", 0.1, "part of the reconciles that are traced, from 0 to 1")
}

// tracingOptions are the options of the traces. The error is an errUsage.
func (t telemetry) tracingOptions(logger logr.Logger) (tracing.Options, error) {
	instance, err := os.Hostname()
	if err != nil {
		instance = "unknown host"
	}
	o := tracing.Options{
		Endpoint: t.otlpEndpoint, Ratio: t.traceSampleRatio,
		Service: "letmepost-controller", Instance: instance, Clock: clock.RealClock{},
		Logger: slog.New(logr.ToSlogHandler(logger)),
	}
	if err := o.Check(); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	return o, nil
}

// startTraces begins to export traces; nil if there are to be none.
func (t telemetry) startTraces(ctx context.Context, logger logr.Logger) (*tracing.Traces, error) {
	o, err := t.tracingOptions(logger)
	if err != nil {
		return nil, err
	}
	return tracing.New(ctx, o)
}

// newAudit makes the audit log, which is written at every --log-level.
func newAudit(stderr io.Writer) logr.Logger {
	return zap.New(zap.JSONEncoder(), zap.Level(zapcore.InfoLevel), zap.WriteTo(stderr)).WithName("audit")
}
