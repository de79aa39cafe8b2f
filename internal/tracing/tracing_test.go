// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tracing_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/tracing"
	"github.com/letmepost/letmepost-operator/internal/tracing/tracingtest"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

func options(endpoint string, log io.Writer) tracing.Options {
	return tracing.Options{
		Endpoint: endpoint, Ratio: 1, Service: "test", Instance: "here",
		Clock: testclock.NewFakePassiveClock(time.Unix(0, 0)), Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func start(t *testing.T, o tracing.Options) *tracing.Traces {
	t.Helper()
	traces, err := tracing.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return traces
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		reason, endpoint string
		ratio            float64
		want             string // in the error; "": there is none
	}{
		{"no traces", "", 0.1, ""},
		{"a collector", "http://collector:4318", 0, ""},
		{"one behind a path", "https://example.com/otlp/", 1, ""},
		{"no scheme", "collector:4318", 1, "--otlp-endpoint"},
		{"no host", "http:///v1", 1, "--otlp-endpoint"},
		{"another protocol", "grpc://collector:4317", 1, "--otlp-endpoint"},
		{"credentials, which would show in the list of processes", "http://u:secret@collector", 1, "--otlp-endpoint"},
		{"less than nothing", "", -0.1, "--trace-sample-ratio"},
		{"more than all", "", 1.1, "--trace-sample-ratio"},
		{"no number", "", math.NaN(), "--trace-sample-ratio"},
	} {
		err := tracing.Options{Endpoint: tc.endpoint, Ratio: tc.ratio}.Check()
		if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", tc.reason, err, tc.want)
		}
	}
}

func TestSpansArrive(t *testing.T) {
	collector := tracingtest.Start(t)
	var log bytes.Buffer
	traces := start(t, options(collector.URL, &log))
	ctx, root := tracing.Start(t.Context(), traces.Tracer(), "root", attribute.String("a", "b"))
	_, child := tracing.Child(ctx, "child")
	tracing.End(child, errors.New("lmp_live_secret"))
	tracing.End(root, nil)
	traces.Stop(t.Context())
	spans := collector.Spans()
	if len(spans) != 2 || log.Len() > 0 {
		t.Fatalf("%d spans, want 2; log: %s", len(spans), &log)
	}
	c, r := spans[0], spans[1]
	if r.Name != "root" || r.ParentID != "" || r.Failed || r.Attributes["a"] != "b" || r.Service != "test" {
		t.Errorf("the root is %+v", r)
	}
	if c.Name != "child" || c.ParentID != r.ID || c.TraceID != r.TraceID || !c.Failed {
		t.Errorf("the child is %+v, of %+v", c, r)
	}
	if bytes.Contains(collector.Raw(), []byte("lmp_live_secret")) {
		t.Error("an error's text was sent")
	}
}

// Whoever is asked to take part in a trace that is not recorded records nothing, whatever the ratio.
func TestTheParentDecides(t *testing.T) {
	collector := tracingtest.Start(t)
	for _, sampled := range []bool{true, false} {
		o := options(collector.URL, new(bytes.Buffer))
		o.Ratio = 1
		if sampled {
			o.Ratio = 0
		}
		traces := start(t, o)
		parent := trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true}
		if sampled {
			parent.TraceFlags = trace.FlagsSampled
		}
		ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(parent))
		_, span := tracing.Start(ctx, traces.Tracer(), "span")
		span.End()
		traces.Stop(t.Context())
	}
	if spans := collector.Spans(); len(spans) != 1 || spans[0].ParentID != "0200000000000000" {
		t.Errorf("got %+v, want the one whose parent is recorded", spans)
	}
}

func TestWithoutTraces(t *testing.T) {
	traces := start(t, tracing.Options{})
	if traces != nil || traces.Tracer() != nil {
		t.Errorf("there are traces: %v", traces)
	}
	traces.Stop(t.Context())
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := tracing.Start(context.Background(), nil, "root")
		_, child := tracing.Child(ctx, "child")
		tracing.End(child, nil)
		tracing.End(span, nil)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// A collector that hangs, or is not there, holds up nobody, and is complained of once.
func TestTheCollectorIsAway(t *testing.T) {
	hangs := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer hanging.Close()
	defer close(hangs)
	const gone = "http://127.0.0.1:1" // no port that was free a moment ago: somebody else may have been given that
	for reason, endpoint := range map[string]string{"it hangs": hanging.URL, "it is gone": gone} {
		t.Run(reason, func(t *testing.T) {
			var log testlog.Buffer // Stop does not wait for who writes it for longer than it may take
			traces := start(t, options(endpoint, &log))
			began := time.Now()
			for range 20_000 { // many times what the queue holds
				_, span := tracing.Start(t.Context(), traces.Tracer(), "span")
				span.End()
			}
			if took := time.Since(began); took > time.Minute { // 20 messages that are waited for take some minutes
				t.Errorf("20000 spans took %s", took)
			}
			began = time.Now()
			traces.Stop(t.Context())
			if took := time.Since(began); took > 9*time.Second { // one message alone is tried for 10
				t.Errorf("stopping took %s", took)
			}
			if text := log.String(); endpoint == gone && strings.Count(text, "\n") != 1 {
				t.Errorf("want one line in the log, got:\n%s", text)
			}
		})
	}
}
