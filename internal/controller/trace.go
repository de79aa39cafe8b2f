// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/letmepost/letmepost-operator/internal/tracing"
)

// traced makes a span of each reconcile of r. Without a tracer it is r itself, and costs nothing.
func traced(tracer trace.Tracer, kind string, r reconcile.Reconciler) reconcile.Reconciler {
	if tracer == nil {
		return r
	}
	return tracedReconciler{tracer, kind, r}
}

// tracedReconciler is a reconciler whose work is traced. It wraps the reconciler, so that those know nothing of tracing
// but its child spans.
type tracedReconciler struct {
	tracer trace.Tracer
	kind   string // of the objects, and of the work
	next   reconcile.Reconciler
}

// Reconcile implements reconcile.Reconciler.
func (t tracedReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	ctx, span := tracing.Start(ctx, t.tracer, "reconcile "+t.kind,
		semconv.K8SNamespaceName(req.Namespace), attribute.String("lmp.object.name", req.Name))
	// The name of the object is on the span and not in its name: spans are grouped by that.
	result, err := t.next.Reconcile(ctx, req)
	span.SetAttributes(attribute.String("lmp.reconcile.outcome", outcomeOf(result, err)))
	tracing.End(span, err)
	return result, err
}

// outcomeOf is what comes of a reconcile, as controller-runtime's metrics call it. With the same words, a dashboard's
// figure leads to the traces behind it.
func outcomeOf(result reconcile.Result, err error) string {
	switch {
	case err != nil:
		return "error"
	case result.RequeueAfter > 0:
		return "requeue_after"
	default:
		return "success"
	}
}
