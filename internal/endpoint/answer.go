// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// answer is what goes out for a request, or has. It is filled in on the way and sent at the end, in one place: until
// then, whatever goes wrong can still replace it.
type answer struct {
	body    *body  // of the response, unless it is a stream
	encoded bool   // body is the answer already
	made    []byte // the answer, in place of body: JSON that was made before, and is the same for everybody
	status  int    // 0: what the route says; of a stream that was reset, what it would have been, had nothing gone out yet
	failure error  // why status is what it is; nil for a success

	location    string // where a browser is sent on; "": nowhere
	contentType string // of a stream whose route does not say
	size        int64  // of a stream that is a file, in bytes; 0: it is none
	streaming   bool   // the response goes out while it is made, and has begun to

	// Values of headers that are different for each response. net/http wants a slice of each: these stand in the request,
	// so that they cost no allocation.
	requestID, contentLength, rateLimit [1]string
}

// successStatus is the status of a success. Handlers of reads set none: it is 200 for all of them.
func (a *answer) successStatus() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// Answer makes the answer of a write: show makes of its result a status and a body, which is encoded at once, because
// it is stored together with the change. So a response that can't be encoded undoes the change, and a repeated request
// gets these very bytes. The body is the request's: who keeps it for longer has to copy it.
func Answer[T, Out any](r *Request, show func(T) (status int, body Out)) write.Answer[T] {
	return func(result T) (store.Stored, error) {
		status, shape := show(result)
		if err := r.answer.body.encode(shape); err != nil {
			return store.Stored{}, err
		}
		// Here, so that the change is undone that there is no room to answer. What was published can't be: its handler has
		// taken room before, see Reserve.
		if r.route.AnswerWithin == 0 {
			if err := r.holdAnswer(); err != nil {
				return store.Stored{}, err
			}
		}
		r.answer.status, r.answer.encoded = status, true
		return store.Stored{Status: status, Body: r.answer.body.buffer.Bytes()}, nil
	}
}

// OK is for Answer: whatever show makes of the result is a 200, as for most writes. A status of its own is for a write
// that can have two of them.
func OK[T, Out any](show func(T) Out) func(T) (int, Out) {
	return func(result T) (int, Out) { return http.StatusOK, show(result) }
}

// Values of response headers, made once. net/http only reads them. There is no Vary: what depends on the caller is
// never stored, and a Vary means something to stores alone.
var (
	contentTypeJSON = []string{"application/json"}
	noSniff         = []string{"nosniff"}
	noStore         = []string{"no-store"}
	attachment      = []string{"attachment"} // browsers keep it, and show nothing of it
)

// body is a response's JSON on its way out. It is complete before the first byte is sent.
type body struct {
	buffer  bytes.Buffer
	encoder *json.Encoder
}

// maxKeptBody is the size in bytes up to which a body's memory is used again. One page of a thousand keys would
// otherwise keep some hundred kilobytes for every whoami that comes after it.
const maxKeptBody = 64 << 10

// bodies are kept because an encoder and its buffer are most of what answering from memory allocates.
var bodies = sync.Pool{New: func() any {
	b := new(body)
	b.encoder = json.NewEncoder(&b.buffer)
	b.encoder.SetEscapeHTML(false) // nobody reads application/json with nosniff as HTML, and names may hold an "&"
	return b
}}

// newBody returns a body with nothing, or anything, in it: encode replaces that.
func newBody() *body { return bodies.Get().(*body) }

// free gives the body's memory to the next request. Whoever keeps bytes of it has copied them before. It is called once
// the response was handed to net/http, which has copied what it still has to send.
func (b *body) free() {
	if b.buffer.Cap() <= maxKeptBody {
		bodies.Put(b)
	}
}

// encode replaces the body by v's JSON and a newline, which encoding/json writes and a terminal wants. An error is a
// mistake in a shape, such as a value that JSON has no form for: no caller can cause it.
func (b *body) encode(v any) error {
	b.buffer.Reset()
	// AvailableBuffer is the buffer's own memory: nothing is copied, unless it has to grow.
	if v, ok := v.(Appender); ok {
		b.buffer.Write(append(v.AppendJSON(b.buffer.AvailableBuffer()), '\n'))
		return nil
	}
	if err := b.encoder.Encode(v); err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	return nil
}

// succeed sends the response of a request that has not failed, or the stored one of an earlier request. A replayed
// error is sent here too: it is an answer that was stored, and its status and body are what was stored.
func (e *Engine) succeed(w http.ResponseWriter, r *Request) {
	r.setHead(w)
	if r.writing != nil && r.writing.replayed {
		w.Header()["Idempotency-Replayed"] = []string{"true"}
	}
	r.send(w)
}

// setHead sets what the header of a success says of its route. What depends on a caller is never cached: a proxy that
// kept it would go on answering for a key that is revoked.
func (r *Request) setHead(w http.ResponseWriter) {
	h := w.Header()
	if r.route.Cache == "" {
		h["Cache-Control"] = noStore
	} else {
		h["Cache-Control"] = []string{r.route.Cache}
	}
	switch {
	case r.route.page != nil:
		setPageHead(h)
		if r.answer.location != "" {
			h["Location"] = []string{r.answer.location}
		}
	case r.route.stream == nil:
		h["Content-Type"] = contentTypeJSON
	case r.answer.contentType != "": // SetFile knows better than the route
		h["Content-Type"] = []string{r.answer.contentType}
	default:
		h["Content-Type"] = []string{r.route.contentType}
	}
	if r.answer.size > 0 {
		// What was uploaded comes from the API's own origin here: a browser must not show it as a page of that.
		h["Content-Disposition"] = attachment
		h["Content-Length"] = []string{strconv.FormatInt(r.answer.size, 10)}
	}
	r.answer.status = r.answer.successStatus()
}

// fail turns err into the response of its kind. Whatever the handler has encoded by then is overwritten. The failure is
// kept for metrics and the log, which are told more than the caller.
func (e *Engine) fail(w http.ResponseWriter, r *Request, err error) {
	p := e.problems.of(err)
	h := w.Header()
	h["Cache-Control"] = noStore
	p.setHeaders(h)
	r.answer.status, r.answer.failure = p.status(), err
	if r.route != nil && r.route.page != nil {
		setPageHead(h)
		r.answer.body.showPage(r.pageOf(p))
	} else {
		h["Content-Type"] = contentTypeJSON
		if err := r.answer.body.encode(e.problems.envelope(p, r.id)); err != nil {
			panic(err) // an envelope is strings alone, which always have a JSON
		}
	}
	r.send(w)
}

// send writes the response that r.answer holds.
func (r *Request) send(w http.ResponseWriter) {
	a := &r.answer
	// What was made beforehand is not copied into the body, where it would count for this request.
	text := a.body.buffer.Bytes()
	if a.made != nil && a.failure == nil {
		text = a.made
	}
	r.sendHeader(w, len(text)) // always, so that HEAD says what GET does
	if r.http.Method != http.MethodHead {
		_, _ = w.Write(text) // the caller has gone: there is nobody left to tell
	}
}

// sendHeader sends the header, with what stands in that of every response. length is the body's; 0: that is not known.
func (r *Request) sendHeader(w http.ResponseWriter, length int) {
	a, h := &r.answer, w.Header()
	a.requestID[0] = r.id
	h["X-Request-Id"] = a.requestID[:]
	h["X-Content-Type-Options"] = noSniff
	var buffer [96]byte // for both values that differ each time: one text, and so one allocation
	text := strconv.AppendInt(buffer[:0], int64(length), 10)
	end := len(text)
	// On errors, too, and above all on a 429. Those who were not recognised have no rate that they could be told of.
	limited := r.admitted.Allowance.Rate.Requests > 0
	if limited {
		text = appendRateLimit(text, r.admitted.Allowance)
	}
	values := string(text)
	if length > 0 {
		a.contentLength[0] = values[:end]
		h["Content-Length"] = a.contentLength[:]
	}
	if limited {
		a.rateLimit[0] = values[end:]
		h["Ratelimit"] = a.rateLimit[:]
		h["Ratelimit-Policy"] = r.engine.policyOf(r.admitted.Allowance.Rate)
	}
	w.WriteHeader(a.status)
}

// appendRateLimit appends the value of RateLimit, and policyOf returns that of RateLimit-Policy
// (draft-ietf-httpapi-ratelimit-headers-10), of a policy named "key". They are on every response, and written by hand:
// a library for structured fields (httpsfv) takes eleven times as long, a fifth of a GET /v1/whoami.
func appendRateLimit(b []byte, left rate.Allowance) []byte {
	b = strconv.AppendInt(append(b, `"key";r=`...), left.Remaining, 10)
	return strconv.AppendInt(append(b, `;t=`...), seconds(left.Reset), 10)
}

// policy is a rate as RateLimit-Policy tells it.
type policy struct {
	rate  rate.Rate
	value [1]string
}

// policyOf writes a rate as a structured field: q requests in w seconds. A window is whole seconds (spec.rateLimit).
// RateLimit-Policy is a list of items (RFC 9651), each a string with parameters. It is that of the last response,
// mostly, since nearly all callers have one rate; requests that run at once share it, and only read it.
func (e *Engine) policyOf(own rate.Rate) []string {
	if last := e.policy.Load(); last != nil && last.rate == own {
		return last.value[:]
	}
	text := strconv.AppendInt([]byte(`"key";q=`), own.Requests, 10)
	text = strconv.AppendInt(append(text, `;w=`...), seconds(own.Window), 10)
	p := &policy{own, [1]string{string(text)}}
	e.policy.Store(p)
	return p.value[:]
}

// seconds rounds up: who waits as long as it says has waited long enough. RFC 9110 section 10.2.3 has no fractions in
// Retry-After.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// ErrorEnvelope is the body of every response that is not a success.
type ErrorEnvelope struct {
	Error ErrorBody `json:"error"`
}

// answerCall lets a route answer that changes nothing.
func (r *Request) answerCall() error {
	if r.route.append != nil {
		b := &r.answer.body.buffer
		b.Reset()
		b.Write(append(r.route.append(r, b.AvailableBuffer()), '\n'))
		return r.holdAnswer()
	}
	result, err := r.route.call(r)
	if err != nil {
		return err
	}
	if text, ok := result.(json.RawMessage); ok { // not a copy for each: no key is needed to ask for it
		r.answer.made = text
		return nil
	}
	if err := r.answer.body.encode(result); err != nil {
		return err
	}
	return r.holdAnswer()
}

// ErrorBody is what an ErrorEnvelope says. Programs branch on code and rule, which stay; the sentences may change.
type ErrorBody struct {
	Code        string `json:"code" doc:"What kind of error it is. Branch on this."`
	Message     string `json:"message" doc:"What is wrong, for people."`
	Rule        string `json:"rule,omitempty" doc:"The rule that the request broke, where there is one."`
	Platform    string `json:"platform,omitempty" doc:"The platform whose rule it is, if it is one's."`
	Remediation string `json:"remediation,omitempty" doc:"What to do next, for people."`
	DocURL      string `json:"docUrl" format:"uri" doc:"Where this code is documented."`
	RuleURL     string `json:"ruleUrl,omitempty" format:"uri" doc:"Where the rule is documented, if there is one."`
	RequestID   string `json:"requestId" doc:"The value of the X-Request-Id header, for support."`
}

// Busy is the body of the answer to whoever there is no room for, so that not even their request is read. Its requestId
// is the same for all of them. It is for package serve, which answers without this engine when it has too many
// connections.
func (e *Engine) Busy() []byte {
	b := newBody()
	defer b.free()
	if err := b.encode(e.problems.envelope(reply{Problem: errBusy}, e.config.NewRequestID())); err != nil {
		panic(err) // an envelope is strings alone, which always have a JSON
	}
	return bytes.Clone(b.buffer.Bytes())
}

// envelope shows p. ruleUrl is made of the rule, since the documentation has a place for each, named after it.
func (ps problems) envelope(p reply, requestID string) ErrorEnvelope {
	ruleURL := ""
	if p.Rule != "" {
		ruleURL = ps.docs + problem.RulePath(p.Rule)
	}
	return ErrorEnvelope{ErrorBody{
		Code:        p.Code,
		Message:     p.Message,
		Rule:        p.Rule,
		Platform:    p.Platform,
		Remediation: p.Remediation,
		DocURL:      ps.docs + problem.DocPath(p.Code),
		RuleURL:     ruleURL,
		RequestID:   requestID,
	}}
}
