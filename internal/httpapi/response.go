// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

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

// maxKeptBody is the size in bytes up to which a body's memory is used again.
const maxKeptBody = 64 << 10

var bodies = sync.Pool{New: func() any {
	b := new(body)
	b.encoder = json.NewEncoder(&b.buffer)
	b.encoder.SetEscapeHTML(false) // nobody reads application/json with nosniff as HTML, and names may hold an "&"
	return b
}}

func newBody() *body { return bodies.Get().(*body) }

func (b *body) free() {
	if b.buffer.Cap() <= maxKeptBody {
		bodies.Put(b)
	}
}

// encode replaces the body by v's JSON and a newline.
func (b *body) encode(v any) error {
	b.buffer.Reset()
	if v, ok := v.(appender); ok {
		b.buffer.Write(append(v.appendJSON(b.buffer.AvailableBuffer()), '\n'))
		return nil
	}
	if err := b.encoder.Encode(v); err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	return nil
}

func (a *API) succeed(w http.ResponseWriter, r *request) {
	a.head(w, r)
	if r.replayed {
		w.Header()["Idempotency-Replayed"] = []string{"true"}
	}
	send(w, r)
}

// head sets what the header of a success says of its route.
func (a *API) head(w http.ResponseWriter, r *request) {
	h := w.Header()
	if r.route.cache == "" {
		h["Cache-Control"] = noStore
	} else {
		h["Cache-Control"] = []string{r.route.cache}
	}
	switch {
	case r.route.stream == nil:
		h["Content-Type"] = contentTypeJSON
	case r.contentType != "":
		h["Content-Type"] = []string{r.contentType}
	default:
		h["Content-Type"] = []string{r.route.contentType}
	}
	if r.size > 0 {
		h["Content-Disposition"] = attachment
		h["Content-Length"] = []string{strconv.FormatInt(r.size, 10)}
	}
	r.status = r.successStatus()
}

// fail turns err into the response of its kind.
func (a *API) fail(w http.ResponseWriter, r *request, err error) {
	p := a.problems.of(err)
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Content-Type"] = contentTypeJSON
	for name, value := range p.headers {
		h[name] = []string{value}
	}
	r.status, r.failure = p.status, err
	if err := r.body.encode(a.problems.envelope(p, r.id)); err != nil {
		panic(err) // an envelope is strings alone
	}
	send(w, r)
}

// send writes the response whose status is r.status and whose body is r.body.
func send(w http.ResponseWriter, r *request) {
	r.values[1] = strconv.Itoa(r.body.buffer.Len())
	w.Header()["Content-Length"] = r.values[1:2:2]
	sendHeader(w, r)
	if r.http.Method != http.MethodHead {
		_, _ = w.Write(r.body.buffer.Bytes()) // the caller has gone: there is nobody left to tell
	}
}

// sendHeader sends the header, with what stands in that of every response.
func sendHeader(w http.ResponseWriter, r *request) {
	h := w.Header()
	r.values[0] = r.id
	h["X-Request-Id"] = r.values[0:1:1]
	h["X-Content-Type-Options"] = noSniff
	if r.allowance.Rate.Requests > 0 {
		limitHeaders(h, r.allowance)
	}
	w.WriteHeader(r.status)
}
