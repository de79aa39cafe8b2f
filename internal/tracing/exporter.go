// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"log/slog"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

const (
	// warnEvery is how often the log says that the collector is away. Exports fail every few seconds while it is.
	warnEvery = time.Minute
	// maxText bounds the bytes of an error in the log: it may quote what the collector has answered.
	maxText = 300
	// away is the one warning there is. What the error says changes with each attempt, so it is compared with nothing.
	away = "traces don't reach their collector"
)

// exporter exports spans and logs that they are lost, once a minute at most. The SDK hands it one batch
// after another, never two at once.
type exporter struct {
	sdktrace.SpanExporter
	clock  clock.PassiveClock
	logger *slog.Logger

	warning retry.Complaint
	lost    int // spans, since the last warning
}

func newExporter(to sdktrace.SpanExporter, o Options) *exporter {
	return &exporter{
		SpanExporter: to, clock: o.Clock, logger: o.Logger, warning: retry.Complaint{Every: warnEvery},
	}
}

// ExportSpans implements sdktrace.SpanExporter. It always returns nil: the SDK prints each error to stderr, where it
// would stand between the lines of JSON.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		if e.warning.Standing() {
			e.warning.Clear()
			e.logger.Info("traces reach their collector again", "lostSpans", e.lost)
			e.lost = 0
		}
		return nil
	}
	e.lost += len(spans)
	if e.warning.Due(away, e.clock.Now()) {
		text := err.Error()
		e.logger.Warn(away, "lostSpans", e.lost, "error", text[:min(len(text), maxText)])
		e.lost = 0
	}
	return nil
}
