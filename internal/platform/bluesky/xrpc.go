// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// Methods of the protocol, by their NSIDs.
const (
	createSession  = "com.atproto.server.createSession"
	refreshSession = "com.atproto.server.refreshSession"
	getSession     = "com.atproto.server.getSession"
	deleteSession  = "com.atproto.server.deleteSession"
	resolveHandle  = "com.atproto.identity.resolveHandle"
	describeRepo   = "com.atproto.repo.describeRepo"
	getRecord      = "com.atproto.repo.getRecord"
	putRecord      = "com.atproto.repo.putRecord"
	uploadBlob     = "com.atproto.repo.uploadBlob"
)

// call is one call of a method. It is made with net/http and not with indigo's atclient, which keeps the headers of
// refusals to itself (when to ask again is in them), sends files without their length, and renews sessions behind the
// back of whoever shares them between replicas. It may be made more than once: for another nonce, or with another
// token.
type call struct {
	host   string // URL of the server, without a path
	method string
	token  string     // "": as a stranger
	key    dpopKey    // that the token is bound to; nil: it is good for whoever has it
	query  url.Values // of a query
	in     any        // of a procedure, as JSON; nil: nothing
	file   *file      // of a procedure, in place of in
	isRead bool       // a query: GET
}

// file is bytes to upload. open may be called again, if a call has to be.
type file struct {
	open        func(context.Context) (io.ReadCloser, error)
	size        int64
	contentType string
}

// serverError is an answer that is no success, or no answer at all. All that asks a server returns one, and judge and
// named are how it is read.
type serverError struct {
	status  int // 0: none came
	name    string
	message string
	body    json.RawMessage // what was said; nil: nothing, or no JSON
	// again is when the server wants to be asked again; zero: it does not say.
	again time.Time
	// sent: the server may have got the request.
	sent  bool
	cause error // of no answer
}

// Error is for logs: it holds no token, and what the server said.
func (r *serverError) Error() string {
	if r.cause != nil {
		return r.cause.Error()
	}
	return fmt.Sprintf("%d %s: %s", r.status, r.name, r.message)
}

// Unwrap gives the cause.
func (r *serverError) Unwrap() error { return r.cause }

// errOurs is the cause of a request that could not be made here, such as one with a medium that is gone. No server has
// to do with it.
type errOurs struct{ error }

// Unwrap gives the cause.
func (e errOurs) Unwrap() error { return e.error }

// do makes a call. The error is a *serverError. out is what the answer is read into, as JSON; nil: nothing is.
func (s *service) do(ctx context.Context, c call, out any) error {
	err := s.once(ctx, c, out)
	if c.key != nil && named(err, useNonce) { // the server has said which, and has done nothing yet
		err = s.once(ctx, c, out)
	}
	return err
}

// once makes a call a single time. If it fails, the error says whether it was sent: then the server may have done it,
// and to send it again could make a second post.
func (s *service) once(ctx context.Context, c call, out any) error {
	traced, connected := outbound.NoteConnection(ctx)
	req, err := s.prepare(traced, c)
	if err != nil {
		return &serverError{cause: err}
	}
	resp, err := s.xrpc.Do(req)
	if err != nil {
		return &serverError{sent: connected.Load(), cause: err}
	}
	defer resp.Body.Close()
	if c.key != nil {
		s.nonces.note(c.host, resp.Header)
	}
	// The status first: an error is one even if its text breaks off on the way.
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return s.serverErrorOf(resp, answer)
	}
	if err != nil {
		return &serverError{sent: true, cause: err}
	}
	if out == nil { // there is nothing to read, as after the end of a session
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &serverError{sent: true, cause: fmt.Errorf("the answer to %s is not what it should be: %w", c.method, err)}
	}
	return nil
}

// prepare makes a request that can be sent, once. The error is an errOurs, if ctx has not ended.
func (s *service) prepare(ctx context.Context, c call) (*http.Request, error) {
	req, err := c.request(ctx)
	if err == nil && c.key != nil {
		err = s.prove(req, c)
	}
	if err == nil && c.file != nil {
		err = c.file.attach(ctx, req)
	}
	if err != nil && ctx.Err() == nil {
		err = errOurs{err}
	}
	return req, err
}

// request makes one without its file (attach). Of a token that is bound to a key, prove replaces the header.
func (c call) request(ctx context.Context) (*http.Request, error) {
	verb, address := http.MethodPost, c.host+"/xrpc/"+c.method
	if c.isRead {
		verb, address = http.MethodGet, address+"?"+c.query.Encode()
	}
	var body io.Reader
	if c.in != nil {
		encoded, err := json.Marshal(c.in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, verb, address, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if c.in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

// attach opens the file as the body of a request, anew each time, because its bytes can be read once. Only the HTTP
// client closes it, so nothing that may fail comes between this and sending the request.
func (f *file) attach(ctx context.Context, req *http.Request) error {
	opened, err := f.open(ctx)
	if err != nil {
		return fmt.Errorf("open a medium: %w", err)
	}
	// net/http can't tell the length of what is in no buffer, and would send it in chunks.
	req.Body, req.ContentLength = opened, f.size
	req.Header.Set("Content-Type", f.contentType)
	return nil
}

// serverErrorOf reads an answer that is no success. What is not of the protocol's form leaves name and message empty,
// which judge takes for something in front of the server.
func (s *service) serverErrorOf(resp *http.Response, answer []byte) *serverError {
	r := &serverError{status: resp.StatusCode, sent: true}
	var said struct{ Error, Message string }
	if json.Unmarshal(answer, &said) == nil {
		r.name, r.message = said.Error, strings.ToValidUTF8(said.Message, "�")
		r.body, _ = json.Marshal(map[string]string{"error": said.Error, "message": said.Message}) // nothing else it may hold
	}
	if resp.StatusCode == http.StatusUnauthorized && wantsNonce(resp.Header) {
		r.name = useNonce // whatever the body says
	}
	s.noteWait(r, resp.Header)
	return r
}

// noteWait notes when a server that has said "slow down" wants to be asked again, which all that judge takes for it
// needs (tooFast). A 429 is heeded also where its name means something else.
func (s *service) noteWait(r *serverError, h http.Header) {
	if r.status == http.StatusTooManyRequests || judge(r) == slowDown {
		r.again = askAgain(h, s.clock.Now())
	}
}

const (
	// longestWait is a day: the longest window of the limits that are published.
	longestWait = 24 * time.Hour
	// usualWait is for who says no more than "slow down".
	usualWait = time.Minute
)

// askAgain is when a server that has said "slow down" wants to be asked again. RateLimit-Reset is in seconds since 1970
// here, unlike elsewhere; newer servers have Retry-After too. What makes no sense is not heeded: a post must not wait
// for years because of a header. What comes of it is after now, always, and within a day and a minute.
func askAgain(h http.Header, now time.Time) time.Time {
	sensible := func(t time.Time) bool { return t.After(now) && t.Before(now.Add(longestWait+time.Minute)) }
	if n, err := strconv.ParseInt(h.Get("RateLimit-Reset"), 10, 64); err == nil && sensible(time.Unix(n, 0)) {
		return time.Unix(n, 0)
	}
	if n, err := strconv.ParseInt(h.Get("Retry-After"), 10, 32); err == nil {
		if t := now.Add(time.Duration(n) * time.Second); sensible(t) {
			return t
		}
	}
	return now.Add(usualWait)
}

// A verdict is what an error means for whoever wants something. It goes by the name of the error: an expired token
// comes with status 400, and so does a text that is too long.
type verdict int

const (
	noError verdict = iota
	saysNo          // for good
	strange         // it does not take the token, or does not have the account any more
	slowDown
	away // it did not answer, or not as this protocol has it
)

// verdicts are those of the errors that mean something else than no. An account that is not there any more is among
// the strange: whoever renews its session finds out where it has moved to (again).
// So is a scope that is missing: no other token of the same grant has it, and only the person can allow more.
var verdicts = map[string]verdict{
	"ExpiredToken": strange, "InvalidToken": strange, "AuthMissing": strange, "AuthenticationRequired": strange,
	"AuthRequired": strange, "BadJwtAudience": strange, "BadJwt": strange, "AuthFactorTokenRequired": strange,
	"ScopeMissingError": strange, "AccountNotFound": strange, "RepoNotFound": strange,
	"AccountTakedown": strange, "RepoTakendown": strange, "AccountSuspended": strange, "RepoSuspended": strange,
	"AccountDeactivated": strange, "RepoDeactivated": strange,

	"RateLimitExceeded": slowDown,

	"InternalServerError": away, "UpstreamFailure": away, "UpstreamTimeout": away, "NotEnoughResources": away,
	"HandleResolutionFailed": away, useNonce: away,
}

// judge says what an error of do means. Errors that are no answer of a server, such as one of looking up an identity,
// are away.
func judge(err error) verdict {
	var r *serverError
	if err == nil {
		return noError
	}
	if !errors.As(err, &r) {
		return away
	}
	if v, ok := verdicts[r.name]; ok {
		return v
	}
	switch {
	case r.status == http.StatusTooManyRequests:
		return slowDown
	case r.status == http.StatusUnauthorized:
		return strange
	// What this protocol refuses has a name. Without one it may have been said by something in front of the server.
	case r.status >= 400 && r.status < 500 && r.name != "" && r.status != http.StatusRequestTimeout:
		return saysNo
	case r.status == http.StatusRequestEntityTooLarge: // said by a proxy in front of the server, which names nothing
		return saysNo
	}
	return away
}

// named tells whether an error has one of these names.
func named(err error, names ...string) bool {
	var r *serverError
	if !errors.As(err, &r) {
		return false
	}
	for _, name := range names {
		if r.name == name {
			return true
		}
	}
	return false
}
