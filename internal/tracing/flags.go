// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"

	"github.com/spf13/pflag"
)

// defaultRatio keeps the collector's bill small where traffic is large: one request or reconcile in ten shows what is
// typical. Whoever looks for a single one sends traceparent with it, or sets 1.
const defaultRatio = 0.1

// Flags are the two flags of traces. Both programs have them, with the same names, defaults and errors.
type Flags struct {
	endpoint string
	ratio    float64
}

// Add adds the flags to a program's. The usages are the program's own: what begins a trace differs (a request, a
// reconcile), and so does the style of the two helps.
func (f *Flags) Add(flags *pflag.FlagSet, endpointUsage, ratioUsage string) {
	flags.StringVar(&f.endpoint, "otlp-endpoint", "", endpointUsage)
	flags.Float64Var(&f.ratio, "trace-sample-ratio", defaultRatio, ratioUsage)
}

// Check returns what is wrong with the flags. Its error names the flag, and is for the one who called the program.
func (f *Flags) Check() error { return Options{Endpoint: f.endpoint, Ratio: f.ratio}.Check() }

// Start begins to export traces as New does. Endpoint and Ratio of o are those of the flags.
func (f *Flags) Start(ctx context.Context, o Options) (*Traces, error) {
	o.Endpoint, o.Ratio = f.endpoint, f.ratio
	return New(ctx, o)
}
