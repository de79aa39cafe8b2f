// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const maxIdempotencyKey = 255 // characters

var (
	errIdempotencyKeyLength = errInvalid("idempotency_key.length", "Idempotency-Key is not 1 to 255 characters long.",
		"Send a UUID, for example.")
	errIdempotencyKeyFormat = errInvalid(
		"idempotency_key.format",
		"Idempotency-Key is not one header of printable ASCII characters.",
		"Send a UUID, for example, bare or in double quotes.",
	)
	errBodyMismatch = &problem{
		status: http.StatusConflict, code: codeIdempotencyConflict, rule: "idempotency_key.body_mismatch",
		message:     "This Idempotency-Key was used before, for a request with another body.",
		remediation: "Use a new Idempotency-Key for a new request. To repeat the old one, send it unchanged.",
	}
	errRunning = &problem{
		status: http.StatusConflict, code: codeIdempotencyConflict, rule: "idempotency_key.in_progress",
		message:     "A request with this Idempotency-Key is running.",
		remediation: "Wait, and send it again to get its answer.",
		headers:     map[string]string{"Retry-After": "1"},
	}
)

// idempotencyKey returns the key that the request was sent with, "" without one. It is taken bare, or as the string of
// a structured field (RFC 9651 section 3.3.3): both are the same key.
func idempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	text := strings.Trim(values[0], " \t")
	if len(values) > 1 || !printable(text) {
		return "", errIdempotencyKeyFormat
	}
	if inner, quoted := strings.CutPrefix(text, `"`); quoted {
		var ok bool
		if text, ok = unquote(inner); !ok {
			return "", errIdempotencyKeyFormat
		}
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

// unquote reads what follows the opening quote of a string, to its end.
func unquote(s string) (string, bool) {
	var text []byte
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return string(text), i == len(s)-1
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
		text = append(text, s[i])
	}
	return "", false
}

// bodyHash tells bodies apart without being one that they could be guessed from, by whoever reads the database: there
// are passwords in some. Its key is the caller's API key, which is known here and now alone: the header with one space
// in it, however many it was sent with.
func (r *request) bodyHash(payload []byte) string {
	header := r.http.Header.Get("Authorization")
	h := hmac.New(sha256.New, []byte("Bearer "+header[strings.LastIndexByte(header, ' ')+1:]))
	h.Write([]byte(r.http.URL.RawQuery))
	h.Write([]byte{0})
	h.Write(payload)
	return hex.EncodeToString(h.Sum(nil))
}

// write answers a request that changes something: once for each Idempotency-Key.
//
// The claim is in the database before the handler runs, and the answer is stored with what the handler does, in the
// same transaction. So whatever dies in between, either nothing was done, or the answer is there; or, for posts that
// were being published, they are on record, and the answer can be made of them.
func (a *API) write(w http.ResponseWriter, r *request) error {
	controller := http.NewResponseController(w)
	defer unblockReads(r.context(), controller, w.Header())()
	r.connection = controller
	var payload []byte
	var err error
	if r.route.upload == nil {
		if payload, err = r.payload(); err != nil {
			return err
		}
		r.hash = r.bodyHash(payload)
	}
	if err := a.claim(r); err != nil || r.replayed {
		return err
	}
	concluded := false
	defer func() {
		if !concluded { // a panic
			_ = a.conclude(r, errInternal)
		}
	}()
	var result any
	if r.route.upload != nil {
		result, err = r.route.upload(a, r)
	} else {
		result, err = r.route.write(a, r, payload)
	}
	if err == nil && !r.encoded {
		err = r.body.encode(result)
	}
	concluded = true
	return a.conclude(r, err)
}

// claim makes the request this process's to run, or finds the answer that it got before.
func (a *API) claim(r *request) error {
	text, err := idempotencyKey(r.http.Header["Idempotency-Key"])
	if err != nil || text == "" {
		return err
	}
	claim, stored, err := a.view(r).Claim(r.context(), store.Request{
		IdempotencyKey: text, Method: r.http.Method, Path: r.http.URL.EscapedPath(), BodyHash: r.hash,
	})
	switch {
	case errors.Is(err, store.ErrMismatch):
		return errBodyMismatch
	case errors.Is(err, store.ErrInProgress):
		return errRunning
	case err != nil:
		if claim != nil { // perhaps
			a.releaseLater(r, claim)
		}
		return err
	}
	r.claimed, r.stored = claim, stored
	if stored != nil && r.hash != "" {
		r.replay()
	}
	return nil
}

// replay makes the stored answer that of the request. An error is one for the records too. It goes out as it was
// stored, with the id of the request that it was the answer to.
func (r *request) replay() {
	r.body.buffer.Reset()
	r.body.buffer.Write(r.stored.Body)
	r.status, r.replayed, r.encoded = r.stored.Status, true, true
	if r.status >= http.StatusBadRequest {
		var stored errorEnvelope
		_ = json.Unmarshal(
			r.stored.Body,
			&stored,
		) // it is what a.conclude has written; of anything else the status is told alone
		r.failure = &problem{status: r.status, code: stored.Error.Code, rule: stored.Error.Rule, message: "It was replayed."}
	}
}

// commit makes a request's change: past its commit point, in one transaction, and together with the answer. do may run
// more than once.
func commit[T any](a *API, r *request, do func(context.Context, *store.Tx) (T, error)) (result T, err error) {
	err = authn.Commit(r.context(), func(ctx context.Context) error {
		return a.view(r).Write(ctx, func(tx *store.Tx) error {
			var err error
			if result, err = do(ctx, tx); err != nil {
				return err
			}
			return r.settle(tx, result)
		})
	})
	return result, err
}

// settle stores the request's answer, if it has an Idempotency-Key, in the transaction that makes its change.
func (r *request) settle(tx *store.Tx, result any) error {
	if err := r.body.encode(result); err != nil {
		return err
	}
	r.encoded = true
	if r.claimed == nil {
		return nil
	}
	if err := tx.Settle(r.claimed, store.Stored{Status: r.successStatus(), Body: r.body.buffer.Bytes(), BodyHash: r.hash}); err != nil {
		return err
	}
	r.settled = true
	return nil
}

// concludeWithin bounds what is left to do for a claim when the handler is done.
const concludeWithin = 5 * time.Second

// conclude ends the claim of a request whose handler did not: an answer that is the caller's is stored, one of ours is
// not, so that the request can be sent again. It returns err.
func (a *API) conclude(r *request, err error) error {
	if r.claimed == nil || r.settled && err == nil {
		return err
	}
	// The caller may have gone, but not what was claimed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.context()), concludeWithin)
	defer cancel()
	answer := store.Stored{Status: r.successStatus(), Body: r.body.buffer.Bytes(), BodyHash: r.hash}
	if err != nil {
		p := a.problems.of(err)
		if !p.final() || r.hash == "" || r.flight.Err() != nil {
			a.release(ctx, r)
			return err
		}
		if encodeErr := r.body.encode(a.problems.envelope(p, r.id)); encodeErr != nil {
			panic(encodeErr) // an envelope is strings alone
		}
		answer.Status, answer.Body = p.status, r.body.buffer.Bytes()
	}
	if storeErr := a.view(r).Write(ctx, func(tx *store.Tx) error { return tx.Settle(r.claimed, answer) }); storeErr != nil {
		a.release(ctx, r)
	}
	return err
}

// final tells whether a request that ended so would end so again.
func (p *problem) final() bool {
	return p.status < http.StatusInternalServerError && p.status != statusClientGone &&
		p.status != http.StatusTooManyRequests &&
		p.code != codeIdempotencyConflict
}

// release gives the claim up. If that fails, the claim is in progress until the database is back, and says so to
// whoever asks: better than running twice.
func (a *API) release(ctx context.Context, r *request) {
	if err := a.view(r).Abandon(ctx, r.claimed); err != nil {
		a.config.Logger.WarnContext(ctx, "release a claim, trying on", "requestId", r.id, "error", err)
		a.releaseLater(r, r.claimed)
	}
}

// releaseLater gives a claim up as soon as the database can be reached, which may be after the request has been
// answered.
func (a *API) releaseLater(r *request, claim *store.Claim) {
	view := a.view(r)
	a.config.Publisher.RecordLater(func(ctx context.Context) error { return view.Abandon(ctx, claim) })
}
