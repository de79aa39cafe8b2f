// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"reflect"
	"time"
)

// Uploads makes an endpoint of a typed handler that changes something and reads the request's body by itself. It is
// told from Writes by its body, which is not held in memory and so can't be hashed before the claim.
func Uploads[Out any](handle func(*Request) (Out, error)) Endpoint {
	return Endpoint{
		response: reflect.TypeFor[Out](),
		upload:   func(r *Request) (any, error) { return handle(r) },
	}
}

// payload is the body of a write, which is read before it is claimed; nil of an upload, whose handler reads it.
func (r *Request) payload() ([]byte, error) {
	if r.route.upload != nil {
		return nil, nil
	}
	return readPayload(r.http, r.reserve)
}

// SetContent says what an upload turned out to be, by a hash of its bytes: it tells its body from others under the same
// Idempotency-Key.
func (r *Request) SetContent(sum string) { r.writing.BodyHash = hashOf(r.http, []byte(sum)) }

// Answered tells whether an upload's Idempotency-Key was answered before. Then nothing is to be stored: its body is
// only looked at, and Replay answers. It is uploads alone that are asked: what a file's bytes are is known when they
// have all been read, while other bodies are compared when they are claimed.
func (r *Request) Answered() bool { return r.writing.stored != nil }

// Replay answers an upload with what was answered before, if SetContent has shown that it is the same.
func (r *Request) Replay() error {
	if r.writing.BodyHash != r.writing.stored.BodyHash {
		return errBodyMismatch
	}
	r.replay()
	return nil
}

// SetBodyDeadline is for uploads, which may take longer than the server's own timeouts: it sets when the next part of
// the body has to be there, and gives the answer a time of its own after that. Without the latter, whoever stopped in
// the middle would be cut off without a word.
func (r *Request) SetBodyDeadline(body time.Time, answerWithin time.Duration) {
	_ = r.connection.SetReadDeadline(body)
	_ = r.connection.SetWriteDeadline(body.Add(answerWithin))
	if r.Context().Err() != nil {
		// The request was cut, and unblock may have set its deadline before ours: it must not be put off.
		_ = r.connection.SetReadDeadline(longPast)
	}
}
