// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"sync/atomic"
	"time"

	sampling "golang.org/x/time/rate"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// AccessLog says which requests leave a record in the log. A 500 leaves one always, and a refusal leaves one in the
// audit log instead.
type AccessLog string

// The choices.
const (
	AccessLogErrors AccessLog = "errors" // those that were not successful, at most 100 a second
	AccessLogAll    AccessLog = "all"    // and every successful one
	AccessLogNone   AccessLog = "none"
)

// maxRecords is how many requests that went wrong are recorded a second, and at once, of each kind: anyone can cause
// them, without a key, and must not be able to fill a disk, nor to keep it out of the log that a revoked key is in use.
const maxRecords = 100

// recorder writes one record a request. A record never holds a header, a path or a query: keys end up in all of them.
type recorder struct {
	mode     AccessLog
	keys     *regexp.Regexp
	requests *log            // the access log
	refusals map[string]*log // the audit log, by the class of the refusal
	// known returns the key that a request was sent with, whether it is served or not; nil if there is none.
	known func(authorization []string) *authn.Key
}

// log is a logger, and what holds back records that anyone can cause.
type log struct {
	*slog.Logger
	limit      *sampling.Limiter
	suppressed atomic.Int64 // records not written since the last one that was
}

func newLog(logger *slog.Logger) *log {
	return &log{Logger: logger, limit: sampling.NewLimiter(maxRecords, maxRecords)}
}

func newRecorder(c Config, keys *regexp.Regexp) *recorder {
	rec := &recorder{
		mode: c.AccessLog, keys: keys, known: c.Authenticator.Known,
		requests: newLog(c.Logger), refusals: map[string]*log{},
	}
	for _, class := range refusalClasses() {
		rec.refusals[class] = newLog(c.Audit)
	}
	return rec
}

// record writes the record of a request that has been answered, if it is wanted.
func (rec *recorder) record(r *request, elapsed time.Duration) {
	if r.failure == nil {
		if rec.mode == AccessLogAll {
			rec.requests.write(slog.LevelInfo, "request", r, elapsed)
		}
		return
	}
	if class := refusalOf(r.failure); class != "" {
		rec.refusals[class].writePaced(slog.LevelInfo, "Request refused", r, elapsed, func() []slog.Attr {
			refused := []slog.Attr{slog.String("event", "request.refused"), slog.String("refusal", class)}
			if k := rec.known(r.http.Header["Authorization"]); r.caller().Nobody() && k != nil {
				refused = append(refused, keyAttrs(string(k.ID()), k.Organization.Name, k.Name)...)
			}
			return refused
		})
		return
	}
	if rec.mode == AccessLogNone && r.status != http.StatusInternalServerError {
		return
	}
	rec.requests.writePaced(levelOf(r.status), "request", r, elapsed, func() []slog.Attr { return rec.explain(r.failure) })
}

// levelOf: a client's mistake is no trouble of ours, an unready replica may be, an internal error is.
func levelOf(status int) slog.Level {
	switch {
	case status == http.StatusInternalServerError:
		return slog.LevelError
	case status > http.StatusInternalServerError:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// writePaced writes a record of what anyone can cause, or counts it as left out. more is asked for only if it is
// written.
func (l *log) writePaced(level slog.Level, message string, r *request, elapsed time.Duration, more func() []slog.Attr) {
	if !l.limit.AllowN(r.start, 1) {
		l.suppressed.Add(1)
		return
	}
	l.write(level, message, r, elapsed, more()...)
}

func (l *log) write(level slog.Level, message string, r *request, elapsed time.Duration, more ...slog.Attr) {
	pattern := unmatchedRoute
	if r.resource != nil {
		pattern = r.resource.pattern
	}
	attrs := append([]slog.Attr{
		slog.String("requestId", r.id),
		slog.String("method", methodLabel(r.http.Method)),
		slog.String("route", pattern),
		slog.Int("status", r.status),
		slog.Float64("durationMs", float64(elapsed.Microseconds())/1000),
	}, more...)
	if c := r.caller(); c.Actor.Kind == caller.Key {
		attrs = append(attrs, keyAttrs(c.Actor.ID, c.Organization.Name, c.Actor.Name)...)
	}
	if r.cut {
		attrs = append(attrs, slog.Bool("cut", true))
	}
	if r.streaming && r.failure != nil {
		attrs = append(attrs, slog.Bool("reset", true))
	}
	if r.span != nil && r.span.SpanContext().IsSampled() {
		attrs = append(attrs, slog.String("traceId", r.span.SpanContext().TraceID().String()))
	}
	if n := l.suppressed.Swap(0); n != 0 {
		attrs = append(attrs, slog.Int64("suppressed", n))
	}
	l.LogAttrs(context.Background(), level, message, attrs...)
}

// keyAttrs name a key.
func keyAttrs(id, organization, name string) []slog.Attr {
	return []slog.Attr{slog.String("keyId", id), slog.String("key", organization+"/"+name)}
}

// explain says for the operator what the caller is not told.
func (rec *recorder) explain(failure error) []slog.Attr {
	var p *problem
	var panicErr *panicError
	switch {
	case errors.As(failure, &panicErr): // first: whatever else went wrong, this is a mistake of ours
		return []slog.Attr{
			slog.String("panic", rec.hide(fmt.Sprint(panicErr.value))),
			slog.String("stack", string(panicErr.stack)),
		}
	case errors.As(failure, &p):
		if p.rule == "" {
			return nil
		}
		return []slog.Attr{slog.String("rule", p.rule)}
	default:
		return []slog.Attr{slog.String("error", rec.hide(failure.Error()))}
	}
}

// hide removes keys from a text of unknown origin.
func (rec *recorder) hide(text string) string { return rec.keys.ReplaceAllString(text, "[redacted]") }
