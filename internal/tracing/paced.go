// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"log/slog"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"k8s.io/utils/clock"
)

const (
	warnEvery = time.Minute
	maxText   = 300 // bytes of an error: it may quote what the collector has answered
)

// paced is an exporter that says now and then that it fails, and not each time. Its exports come one after another.
type paced struct {
	sdktrace.SpanExporter
	clock  clock.PassiveClock
	logger *slog.Logger

	failing bool
	warned  time.Time
	lost    int // spans, since the last warning
}

// ExportSpans implements sdktrace.SpanExporter. It has no error for its caller, who would print it each time.
func (p *paced) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := p.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		if p.failing {
			p.failing = false
			p.logger.Info("traces reach their collector again", "lostSpans", p.lost)
			p.lost = 0
		}
		return nil
	}
	p.lost += len(spans)
	if now := p.clock.Now(); !p.failing || now.Sub(p.warned) >= warnEvery {
		p.failing, p.warned = true, now
		text := err.Error()
		p.logger.Warn("traces don't reach their collector", "lostSpans", p.lost, "error", text[:min(len(text), maxText)])
		p.lost = 0
	}
	return nil
}
