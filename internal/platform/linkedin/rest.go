// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/outbound"
)

// call is one request to the API.
type call struct {
	path  string // with its query; URNs in it are escaped
	token string
	in    any // as JSON, by POST; nil: GET
}

// serverError is an answer that is no success, or no answer at all.
type serverError struct {
	status  int // 0: none came
	service int // LinkedIn's serviceErrorCode
	code    string
	message string
	body    json.RawMessage // what was said; nil: nothing, or no JSON
	// duplicateOf is the URN of a post that is named; "": none is.
	duplicateOf string
	// again is when LinkedIn wants to be asked again; zero: it does not say.
	again time.Time
	// sent: LinkedIn may have got the request.
	sent  bool
	cause error // of no answer
}

// Error is for logs: it holds no token, and what LinkedIn said.
func (r *serverError) Error() string {
	if r.cause != nil {
		return r.cause.Error()
	}
	return fmt.Sprintf("%d %s %d: %s", r.status, r.code, r.service, r.message)
}

// Unwrap gives the cause.
func (r *serverError) Unwrap() error { return r.cause }

// do makes a call, and returns the header of the answer. The error is a *serverError. out is nil where only the header
// counts.
func (s *service) do(ctx context.Context, c call, out any) (http.Header, error) {
	verb, body, contentType := http.MethodGet, []byte(nil), ""
	if c.in != nil {
		encoded, err := json.Marshal(c.in)
		if err != nil {
			return nil, &serverError{cause: err}
		}
		verb, body, contentType = http.MethodPost, encoded, "application/json"
	}
	return s.send(ctx, s.rest, func(ctx context.Context) (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, verb, s.APIURL+c.path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		req.Header.Set("Accept", "application/json")
		req.Header.Set("Authorization", "Bearer "+c.token)
		// LinkedIn takes no version for granted there, and what is not below that path has none.
		if strings.HasPrefix(c.path, "/rest/") {
			req.Header.Set("LinkedIn-Version", string(s.Version))
			req.Header.Set("X-Restli-Protocol-Version", "2.0.0")
		}
		return req, nil
	}, out)
}

// send sends a request, once. Whoever wants it sent again has to know by the error whether it may have been done. A
// redirect is not followed, and is an answer that is no success: with it would go the token.
func (s *service) send(
	ctx context.Context, by *http.Client, request func(context.Context) (*http.Request, error), out any,
) (http.Header, error) {
	// What fails before Do has not been sent, and is left so in the error: by that a post is sent again without asking
	// (notWritten), and a mistake of ours is told from a server that is away (isOurs).
	traced, connected := outbound.NoteConnection(ctx)
	req, err := request(traced)
	if err != nil {
		return nil, &serverError{cause: err}
	}
	resp, err := by.Do(req)
	if err != nil {
		return nil, &serverError{sent: connected.Load(), cause: err}
	}
	defer resp.Body.Close()
	// The status first: an error is one even if its text breaks off on the way.
	answer, err := io.ReadAll(resp.Body)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, s.serverErrorOf(resp, answer)
	}
	if out == nil {
		return resp.Header, nil
	}
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return nil, &serverError{sent: true, cause: fmt.Errorf("the answer is not what it should be: %w", err)}
	}
	return resp.Header, nil
}

// serverErrorOf reads an answer that is no success.
func (s *service) serverErrorOf(resp *http.Response, answer []byte) *serverError {
	r := &serverError{status: resp.StatusCode, sent: true}
	var said struct {
		Message, Code    string
		ServiceErrorCode int `json:"serviceErrorCode"`
		ErrorDetails     struct {
			InputErrors []struct{ Code, Description string }
		} `json:"errorDetails"`
	}
	if json.Unmarshal(answer, &said) == nil {
		r.code, r.message, r.service = said.Code, said.Message, said.ServiceErrorCode
		for _, e := range said.ErrorDetails.InputErrors {
			// A duplicate counts at whatever place it stands, since a second look knows the post by it.
			if r.code == "" || e.Code == codeDuplicate {
				r.code = e.Code
			}
			if e.Description != "" && !strings.Contains(r.message, e.Description) {
				r.message += " " + e.Description
			}
		}
		// Of all that was said, before it is cut: half a URN would be that of another post.
		r.duplicateOf = urnOfPost.FindString(r.message)
		r.message = short(r.message)
		// Nothing else that it may hold: this is shown to the author.
		r.body, _ = json.Marshal(map[string]any{
			"status": r.status, "code": r.code, "serviceErrorCode": r.service, "message": r.message,
		})
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		r.again = askAgain(resp.Header, s.Clock.Now())
	}
	return r
}

// short makes a text that somebody else has written fit to be shown. It is cut between characters.
func short(text string) string {
	const most = 300
	text = strings.TrimSpace(strings.ToValidUTF8(text, "�"))
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// askAgain is when to ask again after "too many requests". LinkedIn does not say it: it counts days of UTC, and begins
// anew at midnight. Something in front of it may have a Retry-After.
func askAgain(h http.Header, now time.Time) time.Time {
	const day = 24 * time.Hour
	n, err := strconv.ParseInt(h.Get("Retry-After"), 10, 32)
	// Longer than a day makes no sense: by then LinkedIn counts anew, and the post would have been given up.
	if wait := time.Duration(n) * time.Second; err == nil && wait > 0 && wait <= day {
		return now.Add(wait)
	}
	return now.UTC().Truncate(day).Add(day)
}

// codeDuplicate is the code of "this member has just posted that".
const codeDuplicate = "DUPLICATE_POST"

// A verdict is what an error means for whoever wants something.
type verdict int

const (
	noError   verdict = iota
	saysNo            // for good
	strange           // it does not take the token
	forbidden         // it takes the token, and not for this
	slowDown
	sunset    // the version of the API is no more
	duplicate // the member has just posted the same
	away      // it did not answer, or not as it should
)

// judge says what an error of do means. It goes by the status, but for duplicates: they come as a 422 among other
// 422s. What is none of these, a 5xx or a redirect, says nothing of what was asked.
func judge(err error) verdict {
	var r *serverError
	switch {
	case err == nil:
		return noError
	case !errors.As(err, &r):
		return away
	case r.code == codeDuplicate, r.status == http.StatusUnprocessableEntity && r.duplicateOf != "":
		return duplicate
	}
	switch r.status {
	case http.StatusUnauthorized:
		return strange
	case http.StatusForbidden:
		return forbidden
	case http.StatusTooManyRequests:
		return slowDown
	case http.StatusUpgradeRequired:
		return sunset
	// Of the 400s, but no verdict on what was sent: the server says that it has not got all of it in time.
	case http.StatusRequestTimeout:
		return away
	}
	if r.status >= 400 && r.status < 500 {
		return saysNo
	}
	return away
}
