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
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// writing is what a request that changes something has beside the others.
type writing struct {
	write.Operation
	stored   *store.Stored // what was answered before; nil: nothing
	replayed bool          // stored is the answer
}

const maxIdempotencyKey = 255 // characters

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

// told is err as the caller is told of it, where it is about a claim: so the log names the rule, as for other mistakes
// of callers.
func told(err error) error {
	switch {
	case errors.Is(err, store.ErrMismatch):
		return errBodyMismatch
	case errors.Is(err, store.ErrInProgress):
		return errRunning
	}
	return err
}

// idempotencyKey returns the key that the request was sent with, "" without one. It is taken bare, or as the string of a
// structured field (RFC 9651 section 3.3.3): both are the same key.
func idempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	text := strings.Trim(values[0], " \t")
	if len(values) > 1 || !printable(text) {
		return "", errIdempotencyKeyFormat
	}
	if strings.HasPrefix(text, `"`) {
		// No parameter is defined for this field. One that is sent is refused, and not ignored: whoever sends it may mean it
		// to tell two requests apart.
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

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// hashOf tells bodies apart without being one that they could be guessed from, by whoever reads the database: there are
// passwords in some. Its key is the caller's API key, which is known here and now alone: the header with one space in
// it, however many it was sent with.
func hashOf(r *http.Request, payload []byte) string {
	header := r.Header.Get("Authorization")
	h := hmac.New(sha256.New, []byte("Bearer "+header[strings.LastIndexByte(header, ' ')+1:]))
	h.Write([]byte(r.URL.RawQuery))
	h.Write([]byte{0})
	h.Write(payload)
	return hex.EncodeToString(h.Sum(nil))
}

// SetContent says what an upload turned out to be, by a hash of its bytes: it tells its body from others under the same
// Idempotency-Key.
func (r *Request) SetContent(sum string) { r.writing.BodyHash = hashOf(r.http, []byte(sum)) }

// Answered tells whether an upload's Idempotency-Key was answered before. Then nothing is to be stored: its body is only
// looked at, and Replay answers.
func (r *Request) Answered() bool { return r.writing.stored != nil }

// Replay answers an upload with what was answered before, if SetContent has shown that it is the same.
func (r *Request) Replay() error {
	if r.writing.BodyHash != r.writing.stored.BodyHash {
		return errBodyMismatch
	}
	r.replay()
	return nil
}

// write answers a request that changes something: once for each Idempotency-Key. See package write for the order.
func (e *Engine) write(w http.ResponseWriter, r *Request) error {
	r.connection = http.NewResponseController(w)
	stop := unblock(r.Context(), r.connection.SetReadDeadline)
	defer func() {
		if stop() {
			// net/http takes the failed read for the caller's going away, and would hand every later request on this connection a
			// context that has ended.
			w.Header().Set("Connection", "close")
		}
	}()
	r.writing.Operation = e.config.Writes.Start(r.View(), r.id)
	if within := r.route.AnswerWithin; within > 0 {
		r.writing.OnBegin = func() { _ = r.connection.SetWriteDeadline(e.config.Clock.Now().Add(within)) }
	}
	var payload []byte
	var err error
	if r.route.upload == nil {
		if payload, err = readPayload(r.http); err != nil {
			return err
		}
		r.writing.BodyHash = hashOf(r.http, payload)
	}
	if err := r.claim(); err != nil || r.writing.replayed {
		return err
	}
	ended := false
	defer func() {
		if !ended { // a panic
			e.end(r, ErrInternal)
		}
	}()
	var result any
	if r.route.upload != nil {
		result, err = r.route.upload(r)
	} else {
		result, err = r.route.change(r, payload)
	}
	if err == nil && !r.answer.encoded {
		err = r.answer.body.encode(result)
	}
	ended = true
	e.end(r, err)
	return err
}

// claim makes the request this process's to run, or finds the answer that it got before.
func (r *Request) claim() error {
	text, err := idempotencyKey(r.http.Header["Idempotency-Key"])
	if err != nil || text == "" {
		return err
	}
	stored, err := r.writing.Claim(r.Context(), store.Request{
		IdempotencyKey: text, Method: r.http.Method, Path: r.http.URL.EscapedPath(), BodyHash: r.writing.BodyHash,
	})
	if err != nil {
		return err
	}
	r.writing.stored = stored
	if stored != nil && r.writing.BodyHash != "" {
		r.replay()
	}
	return nil
}

// replay makes the stored answer that of the request. An error is one for the log too. It goes out as it was stored,
// with the id of the request that it was the answer to.
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

// endWithin bounds what is left to do for a claim when the handler is done.
const endWithin = 5 * time.Second

// end ends the claim of a request whose handler did not: an answer that is the caller's is stored, one of ours is not,
// so that the request can be sent again.
func (e *Engine) end(r *Request, err error) {
	if !r.writing.Pending(err != nil) {
		return
	}
	// The caller may have gone, but not what was claimed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), endWithin)
	defer cancel()
	stored := store.Stored{Status: r.answer.successStatus(), Body: r.answer.body.buffer.Bytes()}
	if err != nil {
		p := e.problems.of(err)
		if !p.final() || r.writing.BodyHash == "" || r.admitted.Err() != nil {
			r.writing.End(ctx, nil)
			return
		}
		if encodeErr := r.answer.body.encode(e.problems.envelope(p, r.id)); encodeErr != nil {
			panic(encodeErr) // an envelope is strings alone
		}
		stored = store.Stored{Status: p.status(), Body: bytes.Clone(r.answer.body.buffer.Bytes())}
	}
	r.writing.End(ctx, &stored)
}

// unblock sees to it that nobody waits any longer for a caller who does not send, or does not read, once ctx has ended:
// it sets the connection's deadline to one that is long past, by setDeadline. The connection is then good for nothing
// that needs what was set. The caller calls stop, which waits until this is over (the connection is net/http's again when
// the handler returns) and tells whether it has happened.
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

// LongPast is for deadlines that handlers set by themselves.
func LongPast() time.Time { return longPast }
