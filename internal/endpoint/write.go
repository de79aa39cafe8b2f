// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// writing is what a request that changes something has beside the others. It is apart from Request because reads, of
// which there are most, have none.
type writing struct {
	write.Operation
	stored   *store.Stored // what was answered before; nil: nothing, or it has not been looked for
	replayed bool          // stored is the answer
}

const maxIdempotencyKey = 255 // characters; the database keeps only a hash of it

var (
	errIdempotencyKeyLength = problem.NewInvalid("idempotency_key.length",
		"Idempotency-Key is not 1 to 255 characters long.", "Send a UUID, for example.")
	errIdempotencyKeyFormat = problem.NewInvalid("idempotency_key.format",
		"Idempotency-Key is not one header of printable ASCII characters.",
		"Send a UUID, for example, bare or in double quotes.")
	errBodyMismatch = &problem.Problem{
		Kind: problem.Conflict, Code: problem.CodeIdempotencyConflict, Rule: "idempotency_key.body_mismatch",
		Message:     "This Idempotency-Key was used before, for a request with another body.",
		Remediation: "Use a new Idempotency-Key for a new request. To repeat the old one, send it unchanged.",
	}
	errRunning = &problem.Problem{
		Kind: problem.Conflict, Code: problem.CodeIdempotencyConflict, Rule: "idempotency_key.in_progress",
		Message:     "A request with this Idempotency-Key is running.",
		Remediation: "Wait, and send it again to get its answer.",
		RetryAfter:  time.Second,
	}
)

// told makes of an error that is about a claim what the caller is told. That is done here and not in problems.of
// because the log is given the error itself, and names a rule only where that is a problem.
func told(err error) error {
	switch {
	case errors.Is(err, store.ErrMismatch):
		return errBodyMismatch
	// A process that was stopped for a while, and then found that another one has its request.
	case errors.Is(err, store.ErrInProgress), errors.Is(err, store.ErrClaimLost):
		return errRunning
	}
	return err
}

// idempotencyKey returns the key that the request was sent with, "" without one. It is taken bare, or as the string of
// a structured field (RFC 9651 section 3.3.3): both are the same key. draft-ietf-httpapi-idempotency-key-header wants
// the quotes, and nearly no client sends them.
func idempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	text := strings.Trim(values[0], " \t")
	if len(values) > 1 || !printable(text) {
		return "", errIdempotencyKeyFormat
	}
	if strings.HasPrefix(text, `"`) {
		// No parameter is defined for this field. One that is sent is refused, and not ignored: whoever sends it may mean
		// it to tell two requests apart.
		item, err := httpsfv.UnmarshalItem([]string{text})
		if err != nil || len(item.Params.Names()) > 0 {
			return "", errIdempotencyKeyFormat
		}
		text = item.Value.(string) // what begins with a quote is read as a string, or not at all
	}
	if text == "" || len(text) > maxIdempotencyKey {
		return "", errIdempotencyKeyLength
	}
	return text, nil
}

// printable tells whether s is printable ASCII, spaces included: what a structured field's string may hold. RFC 9651
// section 3.3.3 allows %x20-7E.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// hashOf tells the bodies of requests with one Idempotency-Key apart. Some bodies hold passwords, so it is an HMAC:
// from a plain hash, whoever reads the database could find a short password by trying. Its key is the caller's API key,
// which is stored nowhere. RFC 6750 allows several spaces in the header, so it is put together with one: the same
// request has the same hash, whatever library sends it. A session has no key: before writes take one, this needs
// another secret.
func hashOf(r *http.Request, payload []byte) string {
	header := r.Header.Get("Authorization")
	h := hmac.New(sha256.New, []byte("Bearer "+header[strings.LastIndexByte(header, ' ')+1:]))
	h.Write([]byte(r.URL.RawQuery)) // it says what is asked for as the body does: the profile of an upload
	h.Write([]byte{0})              // no query holds one, so what is query and what is body stays clear
	h.Write(payload)
	return hex.EncodeToString(h.Sum(nil))
}

// hashesOf are those of a body's value, and of what earlier versions made the hash of: its bytes, or of no body
// (isNone) its canonical form, since they told "", "{}" and "null" from each other.
func hashesOf(r *http.Request, payload []byte) (body, former string) {
	value, was := canonical(payload), payload
	if isNone(value) {
		value, was = nil, value
	}
	return hashOf(r, value), hashOf(r, was)
}

// Nothing is the body of a write that takes none. What is sent all the same is not decoded: HTTP libraries send a "{}"
// or a "null" unasked. It counts as JSON and by its hash all the same, as every body does; those two count as none.
type Nothing struct{}

// Writes makes an endpoint of a typed handler that changes something. In is the request's JSON body. The handler makes
// its change by r.Operation, with an answer made by Answer, so that it passes its commit point and is stored together
// with its answer; what it returns then is that same answer.
func Writes[In, Out any](handle func(*Request, In) (Out, error)) Endpoint {
	e := Endpoint{request: reflect.TypeFor[In](), response: reflect.TypeFor[Out]()}
	if e.request == reflect.TypeFor[Nothing]() {
		e.request = nil
	}
	e.change = func(r *Request, payload []byte) (any, error) {
		var in In
		if e.request != nil {
			// Before decoding, which is what costs the memory.
			if err := checkValues(payload); err != nil {
				return nil, err
			}
			if err := decodeJSON(payload, &in); err != nil {
				return nil, err
			}
		}
		return handle(r, in)
	}
	return e
}

// write answers a request that changes something: once for each Idempotency-Key. See package write for the order.
//
// The body is read before the claim, so that a claim is never held while a slow caller sends. An upload is the
// exception, since its body may be larger than memory: its claim is made without a hash, which SetContent adds.
func (e *Engine) write(w http.ResponseWriter, r *Request) error {
	if err := r.reserve(r.route.holds()); err != nil {
		return err
	}
	r.connection = http.NewResponseController(w)
	stop := unblock(r.Context(), r.connection.SetReadDeadline)
	defer func() {
		if stop() {
			// net/http takes the failed read for the caller's going away, and would hand every later request on this
			// connection a context that has ended.
			w.Header().Set("Connection", "close")
		}
	}()
	// Every write is an Operation, with an Idempotency-Key or without: the commit point is the same for both.
	r.writing = &writing{Operation: e.config.Writes.Start(r.View(), r.id)}
	// Not before it begins: until then the server's own time, which a slow sender of the body must keep to, is right.
	if within := r.route.AnswerWithin; within > 0 {
		r.writing.OnBegin = func() { _ = r.connection.SetWriteDeadline(e.config.Clock.Now().Add(within)) }
	}
	payload, err := r.payload()
	if err != nil {
		return err
	}
	// Whoever waits for another request's answer may wait for longer than the server gives an answer: net/http would close
	// the connection, and the answer would have been waited for in vain.
	r.writing.OnWait = func(within time.Duration) {
		_ = r.connection.SetWriteDeadline(e.config.Clock.Now().Add(within + answerWithin))
	}
	request, err := r.claimable(payload)
	if err != nil {
		return err
	}
	if err := r.takeUp(request); err != nil || r.writing.replayed {
		return err
	}
	ended := false
	defer func() {
		if !ended { // a panic: without this, the claim would be in progress until the process ends
			e.end(r, errInternal)
		}
	}()
	result, err := r.handle(request, payload)
	err = told(err)
	// What was committed has been encoded by Answer, and stored: to encode it again could only make it another one.
	if err == nil && !r.answer.encoded {
		err = r.answer.body.encode(result)
	}
	ended = true
	e.end(r, err)
	return err
}

// answerWithin is how long it may take to send an answer that was waited for.
const answerWithin = 5 * time.Second

// claimable is by what the request is told from others. It is nil without an Idempotency-Key: to send one is
// recommended, and nobody is forced to.
func (r *Request) claimable(payload []byte) (*store.Request, error) {
	text, err := idempotencyKey(r.http.Header["Idempotency-Key"])
	if err != nil || text == "" {
		return nil, err
	}
	path := r.http.URL.EscapedPath() // as it was sent
	request := &store.Request{IdempotencyKey: text, Method: r.http.Method, Path: path}
	if r.route.upload == nil {
		request.BodyHash, request.FormerHash = hashesOf(r.http, payload)
		r.writing.BodyHash = request.BodyHash
	}
	return request, nil
}

// takeUp claims the request, unless that is left to its change; nil is one that nobody claims.
func (r *Request) takeUp(request *store.Request) error {
	switch {
	case request == nil:
		return nil
	case r.route.ClaimLate:
		r.writing.ClaimLate(*request)
		return nil
	}
	return r.claim(*request)
}

// claim makes the request this process's to run, or finds the answer that it got before.
func (r *Request) claim(request store.Request) error {
	stored, err := r.writing.Claim(r.Context(), request)
	if err != nil {
		return told(err)
	}
	r.writing.stored = stored
	if stored == nil || r.writing.BodyHash == "" { // of an upload, it is not known yet whether it is the same
		return nil
	}
	r.replay()
	return r.holdAnswer()
}

// handle runs the handler. If that was done without a claim, and in vain, the request is claimed and run again,
// whatever was wrong: it may have been sent before, and then that answer counts.
func (r *Request) handle(request *store.Request, payload []byte) (any, error) {
	if r.route.upload != nil {
		return r.route.upload(r)
	}
	held := r.held
	result, err := r.route.change(r, payload)
	if err == nil || !r.writing.Unclaimed() || r.Context().Err() != nil {
		return result, err
	}
	r.keep(held)
	r.answer.encoded = false
	if err := r.claim(*request); err != nil || r.writing.replayed {
		return nil, err
	}
	return r.route.change(r, payload)
}

// replay makes the stored answer that of the request. It goes out as it was stored, to the byte, so the requestId in an
// error is that of the request that it was the answer to: docs/http-api.md promises it. A stored error is logged and
// counted as one, although nothing has failed here.
func (r *Request) replay() {
	a, stored := &r.answer, r.writing.stored
	a.body.buffer.Reset()
	a.body.buffer.Write(stored.Body)
	a.status, a.encoded, r.writing.replayed = stored.Status, true, true
	if a.status >= http.StatusBadRequest {
		var was ErrorEnvelope
		_ = json.Unmarshal(stored.Body, &was) // it is what end has stored; of anything else the status is told alone
		a.failure = &problem.Problem{Code: was.Error.Code, Rule: was.Error.Rule, Message: "It was replayed."}
	}
}

// endWithin bounds what is left to do for a claim when the handler is done. The caller waits for it: had the answer
// gone out before it was stored, and the process died in between, the request would be run twice.
const endWithin = 5 * time.Second

// end ends the claim of a request whose handler did not. An answer that would be the same another time (an account that
// does not exist, a text that is too long) is stored, and the claim is settled. Any other one (an outage, a full disk,
// a revoked key, a body whose hash is not known) gives the claim up, so that the request can be sent again and run.
func (e *Engine) end(r *Request, err error) {
	// Nothing was claimed, or Commit or Finish has settled it, as nearly always when nothing went wrong.
	if !r.writing.Pending(err != nil) {
		return
	}
	// The caller may have gone, but not what was claimed: they are likely to send it again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endWithin)
	defer cancel()
	stored := store.Stored{Status: r.answer.successStatus(), Body: r.answer.body.buffer.Bytes()}
	if err != nil {
		p := e.problems.of(err)
		// Whoever was cut is told 401 in any case: to store another answer for them would be to say two things.
		if !p.final() || r.writing.BodyHash == "" || r.admitted.Err() != nil {
			r.writing.End(ctx, nil)
			return
		}
		if encodeErr := r.answer.body.encode(e.problems.envelope(p, r.id)); encodeErr != nil {
			panic(encodeErr) // an envelope is strings alone
		}
		// Cloned, because fail encodes the same error once more into this memory.
		stored = store.Stored{Status: p.status(), Body: bytes.Clone(r.answer.body.buffer.Bytes())}
	}
	r.writing.End(ctx, &stored)
}

// unblock ends a read or a write that waits for the caller once ctx has ended. A blocked read knows of no context, so a
// revoked key's upload could otherwise go on for as long as its sender likes. It sets the deadline that setDeadline is
// for to one long past; the connection can't be read from, or written to, any more after that.
//
// Whoever calls it calls stop before the handler returns, because the connection is net/http's again then. stop waits
// until this is over, and tells whether the deadline was set.
func unblock(ctx context.Context, setDeadline func(time.Time) error) (stop func() (unblocked bool)) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = setDeadline(longPast)
	})
	return func() bool {
		if cancel() {
			return false
		}
		<-done
		return true
	}
}

// longPast is a deadline that ends every read or write at once.
var longPast = time.Unix(1, 0)
