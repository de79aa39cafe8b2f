// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// AccessLog says which requests leave an entry in the log. A 500 leaves one always, and a refusal leaves one in the
// audit log instead. What all three have in common is for those who look after the server: a mistake of ours, or
// somebody who tries keys.
type AccessLog string

// The choices.
const (
	AccessLogErrors AccessLog = "errors" // those that were not successful, at most 100 a second
	AccessLogAll    AccessLog = "all"    // and every successful one
	AccessLogNone   AccessLog = "none"
)

// maxEntries is how many requests that went wrong are logged a second, and at once, of each kind: anyone can cause
// them, without a key, and must not be able to fill a disk, nor to keep it out of the log that a revoked key is in use.
// So each class of refusals has a limit of its own; requests without a header, which are free, don't use up that of
// revoked keys.
const maxEntries = 100

// accessLog writes one entry a request. An entry never holds a header, a path or a query: keys end up in all of them.
// The route's pattern and the caller's name say what an operator needs.
type accessLog struct {
	mode     AccessLog
	keys     *regexp.Regexp // see hide
	requests *sampledLog
	refusals map[string]*sampledLog // the audit log, by the class of the refusal
}

// sampledLog is a logger, and what holds back entries that anyone can cause. What was held back is counted, and told
// with the next entry: an operator must see that the log is not all there was.
type sampledLog struct {
	*slog.Logger
	limit      *rate.Limiter
	suppressed atomic.Int64 // entries left out since the last one that was written
}

// newSampledLog lets a second's worth through at once, since what goes wrong does so in bursts.
func newSampledLog(logger *slog.Logger) *sampledLog {
	return &sampledLog{Logger: logger, limit: rate.NewLimiter(maxEntries, maxEntries)}
}

// newAccessLog makes a logger for each class there is, so that write looks up and never makes one: it runs on any
// goroutine.
func newAccessLog(c Config) *accessLog {
	l := &accessLog{
		mode: c.AccessLog, keys: keyPattern(c.KeyFormat),
		requests: newSampledLog(c.Logger), refusals: map[string]*sampledLog{},
	}
	for _, class := range admission.Classes() {
		l.refusals[class] = newSampledLog(c.Audit)
	}
	return l
}

// write writes the entry of a request that has been answered, if it is wanted.
func (l *accessLog) write(e *Engine, r *Request, elapsed time.Duration) {
	failure := r.answer.failure
	if failure == nil {
		if l.mode == AccessLogAll { // without a limit: whoever has a key has a rate
			l.requests.write(slog.LevelInfo, "request", r, elapsed)
		}
		return
	}
	// A refusal has one entry, so it is either in the audit log or in the access log.
	if class := e.classOf(failure); class != "" {
		l.refusals[class].sample(slog.LevelInfo, "Request refused", r, elapsed, func() []slog.Attr {
			return e.describeRefusal(r, class)
		})
		return
	}
	if l.mode == AccessLogNone && r.answer.status != http.StatusInternalServerError {
		return // but a mistake of ours is not only the caller's business
	}
	l.requests.sample(levelOf(r.answer.status), "request", r, elapsed, func() []slog.Attr { return l.explain(failure) })
}

// describeRefusal says what the audit log has of a refusal: also whose key it was, if it was a known one's. That a
// revoked or expired key is still in use, and which one, is what an operator looks for in there. It costs a second hash
// and lookup, so it is done for entries alone that are written.
func (e *Engine) describeRefusal(r *Request, class string) []slog.Attr {
	attrs := []slog.Attr{slog.String("event", "request.refused"), slog.String("refusal", class)}
	if r.Caller().Nobody() {
		// Nobody is recognised, so the key is looked up by what was sent, though it is refused: it may be one that is being
		// deleted.
		actor, organization := e.config.Admission.Presented(r.http.Header["Authorization"])
		attrs = append(attrs, actorAttrs(actor, organization)...)
	}
	return attrs
}

// levelOf is the level of an entry: a client's mistake is no trouble of ours, an unready replica may be, and an
// internal error is. Only the last is worth waking somebody for.
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

// sample writes an entry of what anyone can cause, or counts it as left out. more is asked for only if it is written:
// in a flood, what is left out must cost next to nothing.
func (l *sampledLog) sample(
	level slog.Level, message string, r *Request, elapsed time.Duration, more func() []slog.Attr,
) {
	if !l.limit.AllowN(r.start, 1) { // by the request's time, which is the engine's clock: tests have their own
		l.suppressed.Add(1)
		return
	}
	l.write(level, message, r, elapsed, more()...)
}

// write writes an entry. What all entries have stands first, in one order: people read them, too.
func (l *sampledLog) write(
	level slog.Level, message string, r *Request, elapsed time.Duration, more ...slog.Attr,
) {
	pattern := unmatchedRoute
	if r.resource != nil {
		pattern = r.resource.pattern
	}
	attrs := append([]slog.Attr{
		slog.String("requestId", r.id),
		slog.String("method", methodLabel(r.http.Method)),
		slog.String("route", pattern),
		slog.Int("status", r.answer.status),
		slog.Float64("durationMs", float64(elapsed.Microseconds())/1000),
	}, more...)
	attrs = append(attrs, actorAttrs(r.Caller().Actor, r.Caller().Organization)...)
	if r.cut {
		attrs = append(attrs, slog.Bool("cut", true))
	}
	// The status went out with the stream's header, so it does not tell that the caller has not got all of it.
	if r.answer.streaming && r.answer.failure != nil {
		attrs = append(attrs, slog.Bool("reset", true))
	}
	if r.span != nil && r.span.SpanContext().IsSampled() { // else there is no trace to look up
		attrs = append(attrs, slog.String("traceId", r.span.SpanContext().TraceID().String()))
	}
	// Last, and emptied at the same time: of two entries at once, one tells what was left out before it, and only one.
	if n := l.suppressed.Swap(0); n != 0 {
		attrs = append(attrs, slog.Int64("suppressed", n))
	}
	// Not in the request's context: that has ended for a caller who has gone, and a handler might drop the entry for it.
	l.LogAttrs(context.Background(), level, message, attrs...)
}

// actorAttrs name who it was; nobody has no name. The names of the attributes are an interface: alerts and searches of
// operators are made of them (docs/observability.md).
func actorAttrs(a caller.Actor, of caller.Organization) []slog.Attr {
	switch a.Kind {
	case caller.Key:
		return []slog.Attr{slog.String("keyId", a.ID), slog.String("key", of.Name+"/"+a.Name)}
	case caller.Person:
		return []slog.Attr{slog.String("person", a.ID), slog.String("organization", of.Name)}
	}
	return nil
}

// explain says for the operator what the caller is not told. Of a problem it is the rule alone, because code and
// message follow from it.
func (l *accessLog) explain(failure error) []slog.Attr {
	var p *problem.Problem
	var refusal *admission.Refusal
	var panicErr *panicError
	switch {
	case errors.As(failure, &panicErr): // first: whatever else went wrong, this is a mistake of ours
		return []slog.Attr{
			slog.String("panic", l.hide(fmt.Sprint(panicErr.value))),
			slog.String("stack", string(panicErr.stack)),
		}
	case errors.As(failure, &p):
		if p.Rule == "" {
			return nil
		}
		return []slog.Attr{slog.String("rule", p.Rule)}
	case errors.As(failure, new(pageFailure)):
		return nil // the status says it
	case errors.As(failure, &refusal) && refusal.Code == admission.RateLimited:
		return nil // the status says it
	default:
		return []slog.Attr{slog.String("error", l.hide(failure.Error()))}
	}
}

// hide removes keys from a text of unknown origin: an error of a library, or a panic, may quote what it was given.
func (l *accessLog) hide(text string) string { return l.keys.ReplaceAllString(text, "[redacted]") }

// holdsKey tells whether s could hold a key, of either environment: a live key that is sent to the test API is worth
// hiding, too. Request ids are logged, and a key in the wrong header is still a key.
func (e *Engine) holdsKey(s string) bool {
	f := e.config.KeyFormat
	return hasLongWord(s) || strings.Contains(s, f.Prefix(key.Live)) || strings.Contains(s, f.Prefix(key.Test))
}

// maxWord is how many letters and digits may follow each other in what a caller made up and is logged: as many as in a
// UUID or a trace id without hyphens. A key has 38 that are secret, and more in hexadecimal, in base64, or in any other
// way to write it.
const maxWord = 32

// hasLongWord counts letters and digits in a row, so that a UUID with its hyphens passes.
func hasLongWord(s string) bool {
	word := 0
	for _, c := range []byte(s) {
		if word++; c == '.' || c == '_' || c == '-' {
			word = 0
		}
		if word > maxWord {
			return true
		}
	}
	return false
}

// keyPattern finds what looks like a key, in order to hide it. It takes any length: half a key is half of the work of
// guessing the rest.
func keyPattern(f key.Format) *regexp.Regexp {
	return regexp.MustCompile("(?:" + f.Prefix(key.Live) + "|" + f.Prefix(key.Test) + ")[0-9A-Za-z]+")
}
