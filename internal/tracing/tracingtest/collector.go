// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tracingtest is a collector for tests: it takes traces by OTLP over HTTP.
package tracingtest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as a collector sees it. It has what the tests ask for, in Go's types, where OTLP's have a getter for
// each.
type Span struct {
	Name       string
	Kind       string // such as "SPAN_KIND_SERVER"
	TraceID    string // in hex
	ID         string
	ParentID   string         // "": it begins its trace
	Failed     bool           // its status is an error
	Attributes map[string]any // texts, numbers (int64, float64) and booleans
	Service    string         // service.name of the process
}

// Collector takes traces. It is safe for concurrent use. It speaks OTLP over HTTP with protobuf, as the exporter of
// package tracing does, so that a test sees what would go over the network. It keeps all it is sent: a test ends before
// that is much.
type Collector struct {
	URL string // for --otlp-endpoint

	mu    sync.Mutex
	spans []Span
	raw   bytes.Buffer // all that was sent, so that a test can look for what must not be in it
	wrong []string     // what was no OTLP: it is told at the test's end, since the exporter keeps it to itself
}

// Start starts a collector, which ends with the test. The test fails if it is sent what is no OTLP. Errors are told in
// the cleanup, when all requests are over: t must not be used from a handler that outlives the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	c := new(Collector)
	server := httptest.NewServer(c)
	c.URL = server.URL
	t.Cleanup(func() {
		server.Close()
		for _, w := range c.wrong {
			t.Error(w)
		}
	})
	return c
}

// ServeHTTP takes one message. What it expects is what the specification of OTLP/HTTP asks of a client.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The caller holds the lock. The status has the exporter give the message up, and not send it again.
	fail := func(text string) {
		c.wrong = append(c.wrong, "a message to the collector: "+text)
		http.Error(w, text, http.StatusBadRequest)
	}
	// The path is added to the endpoint by the exporter: a test of --otlp-endpoint would not notice a wrong one otherwise.
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" ||
		r.Header.Get("Content-Type") != "application/x-protobuf" {
		fail(r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type"))
		return
	}
	// Whether it compresses is the exporter's to decide, and both must be read.
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			fail(err.Error())
			return
		}
		body = unzipped
	}
	message, err := io.ReadAll(body)
	request := new(collectorpb.ExportTraceServiceRequest)
	if err == nil {
		err = proto.Unmarshal(message, request)
	}
	if err != nil {
		fail(err.Error())
		return
	}
	// Uncompressed, so that a search for a key's plaintext finds it.
	c.raw.Write(message)
	c.take(request)
	// An empty body is an ExportTraceServiceResponse in which nothing was rejected.
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// take flattens what OTLP nests by resource and scope: a test looks for a span, whoever made it.
func (c *Collector) take(request *collectorpb.ExportTraceServiceRequest) {
	for _, resource := range request.ResourceSpans {
		service, _ := valuesOf(resource.Resource.Attributes)["service.name"].(string)
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, Span{
					Name: s.Name, Kind: s.Kind.String(), Service: service,
					TraceID:    hex.EncodeToString(s.TraceId),
					ID:         hex.EncodeToString(s.SpanId),
					ParentID:   hex.EncodeToString(s.ParentSpanId),
					Failed:     s.Status.GetCode().String() == "STATUS_CODE_ERROR",
					Attributes: valuesOf(s.Attributes),
				})
			}
		}
	}
}

// valuesOf leaves out lists and nested values, which no test asks for.
func valuesOf(attributes []*commonpb.KeyValue) map[string]any {
	values := map[string]any{}
	for _, a := range attributes {
		switch v := a.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			values[a.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			values[a.Key] = v.IntValue
		case *commonpb.AnyValue_DoubleValue:
			values[a.Key] = v.DoubleValue
		case *commonpb.AnyValue_BoolValue:
			values[a.Key] = v.BoolValue
		}
	}
	return values
}

// Spans returns those that have arrived. Spans are sent in batches and some time after they end, so a test asks until
// what it waits for is there.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Raw returns the messages that have arrived, as protobuf: also those parts that no Span shows. No key, path or text of
// a post may be in a trace, in whatever field.
func (c *Collector) Raw() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.raw.Bytes())
}
